// One stream: its groups, and the log, newest first.

import { h, table, tile, tiles, empty, field, say, notice, code } from './dom.js';
import { count, lag, rate, bytes, age, ago, counted, sentence, timeOf, until } from './format.js';
import { withSpark } from './overview.js';

const MOST_SHOWN = 500;

export default {
  live: true,
  title: (params) => `Stream ${params.stream ?? ''}`,
  identity: (params) => JSON.stringify(params),
  async load({ get, params, state, leaving, tail }) {
    const filter = { stream: params.stream, from: params.from, to: params.to, kind: params.kind, field: params.field, text: params.text };
    const summary = await get('stream', { stream: params.stream });
    if (summary.gone) {
      state.entries = null;
      return summary;
    }
    state.later = summary.stream.scheduled?.waiting ? (await get('scheduled', { stream: params.stream })).events : [];
    if (!state.entries) {
      const log = await get('entries', filter);
      Object.assign(state, { entries: log.entries, next: log.next, looked: log.looked_at, filter });
      leaving(() => state.tailing && tail(null));
    }
    return summary;
  },
  render(context) {
    const { data, params, state, link } = context;
    if (data.gone) {
      return empty('The stream is gone', `${sentence(data.gone)} It was removed, or its first event has not been emitted. All streams on the command line:`, 'streamer status');
    }
    const stream = data.stream;
    return [
      tiles(
        tile('Entries', count(stream.length), stream.bytes === null ? null : bytes(stream.bytes)),
        tile('Newest', stream.last_age_ms === null ? '–' : age(stream.last_age_ms), 'ago'),
        tile('Oldest', stream.first_age_ms === null ? '–' : age(stream.first_age_ms), 'ago'),
        tile('In/s', withSpark(rate(stream.incoming), stream.incoming_series, 'messages in each second')),
        tile('Appended ever', count(stream.entries_added)),
        stream.scheduled?.waiting ? laterTile(stream.scheduled) : null),
      h('h2', null, 'Groups'),
      stream.groups.length
        ? table('Groups', [
          { label: 'Group', grow: true }, { label: 'Lag', number: true }, { label: 'Waits', number: true }, { label: 'Pending', number: true },
          { label: 'Oldest', number: true }, { label: 'Alive', number: true }, { label: 'Out/s', number: true },
        ], stream.groups.map((group) => ({
          key: group.name,
          cells: [
            h('a', { href: link('group', { stream: params.stream, group: group.name }) }, group.name),
            withSpark(lag(group.lag), group.lag_series, 'messages to be delivered'),
            group.lag_ms === null ? '–' : age(group.lag_ms),
            count(group.pending),
            group.oldest ? age(group.oldest.age_ms) : '–',
            `${count(group.alive)} of ${count(group.alive + group.stale)}`,
            withSpark(rate(group.acknowledged), group.acknowledged_series, 'messages settled each second'),
          ],
        })))
        : empty('No group listens', 'Messages stay on the stream until a group is delivered them. Begin one:', `streamer listen ${params.stream} --group GROUP`),
      later(context),
      log(context),
    ];
  },
};

function laterTile(scheduled) {
  const note = scheduled.overdue ? `${counted(scheduled.overdue, 'event')} overdue` : ['the next ', until(scheduled.next_due_ms)];
  return tile('For later', count(scheduled.waiting) + (scheduled.exact ? '' : '+'), note, scheduled.overdue ? 'critical' : undefined);
}

/** The events that wait until they are due, the next ones. */
function later({ data, params, state, link }) {
  if (!state.later.length) return null;
  const scheduled = data.stream.scheduled;
  return [
    h('h2', null, 'Events for later'),
    scheduled.overdue && scheduled.overdue_ms > 5000
      ? notice('warning', h('p', null, 'A listening of this stream puts its events on it when they are due. None does. At once:'), code(`streamer scheduled deliver ${params.stream}`))
      : null,
    table('Events for later, the next first', [{ label: 'Due', number: true }, { label: 'ID' }, { label: 'Payload', grow: true }],
      state.later.map((event) => ({
        key: event.id,
        cells: [until(timeOf(event.id, Infinity)), h('a', { class: 'id', href: link('entry', { stream: params.stream, id: event.id }) }, event.id), h('code', { class: 'preview' }, event.preview || '(empty)')],
      }))),
    scheduled.waiting > state.later.length
      ? h('p', { class: 'quiet' }, `The next ${count(state.later.length)} of ${count(scheduled.waiting)}.`)
      : null,
  ];
}

function log(context) {
  const { params, state, set, link } = context;
  const shown = state.entries ?? [];
  return [
    h('h2', null, 'Log'),
    h('form', {
      class: 'tools', role: 'search',
      onsubmit: (event) => {
        event.preventDefault();
        set(Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, value.trim()])));
      },
    },
    field('From', h('input', { name: 'from', value: params.from ?? '', placeholder: '2 hours', 'data-search': true }), 'a date, an age or an ID'),
    field('To', h('input', { name: 'to', value: params.to ?? '', placeholder: '2026-11-01 12:30' })),
    field('Type', h('input', { name: 'kind', value: params.kind ?? '', placeholder: 'event' })),
    field('Field', h('input', { name: 'field', value: params.field ?? '', placeholder: 'items.0.sku' }), 'a path in the payload, or a header'),
    field('Value or text', h('input', { name: 'text', value: params.text ?? '' })),
    h('button', { class: 'primary' }, 'Filter'),
    filtered(params) ? h('a', { class: 'button', href: link('stream', { stream: params.stream }) }, 'All entries') : null),
    h('p', { class: 'tools' },
      h('button', { type: 'button', 'data-tail': true, 'aria-pressed': String(Boolean(state.tailing)), onclick: () => toggleTail(context) },
        state.tailing ? 'End live tail' : 'Live tail'),
      state.tailing
        ? h('button', { type: 'button', 'data-pause': true, 'aria-pressed': String(Boolean(state.held)), onclick: () => pause(context) },
          state.held ? `Go on (${count(state.held.length)} new)` : 'Pause')
        : h('button', { type: 'button', onclick: () => { state.entries = null; context.refresh(); } }, 'Newest'),
      state.skipped ? h('span', { class: 'quiet' }, 'More came than is shown here.') : null),
    shown.length
      ? table('Entries, newest first', [
        { label: 'When', number: true }, { label: 'ID' }, { label: 'Event', grow: true }, { label: 'Payload', grow: true },
      ], shown.map((entry) => ({ key: entry.id, cells: entryCells(entry, link) })))
      : empty('No entry', filtered(params) ? 'No entry passes the filter, as far as was looked.' : 'The stream is empty. Emit an event:',
        filtered(params) ? null : `streamer emit ${params.stream} '{"id":1}'`),
    state.next
      ? h('p', { class: 'tools' },
        h('button', { type: 'button', 'data-older': true, onclick: () => older(context) }, 'Older'),
        filtered(params) ? h('span', { class: 'quiet' }, `${count(state.looked)} entries were looked at.`) : null)
      : null,
  ];
}

function filtered(params) {
  return ['from', 'to', 'kind', 'field', 'text'].some((name) => params[name]);
}

export function entryCells(entry, link) {
  const at = timeOf(entry.id);
  return [
    at === null ? '–' : ago(at),
    h('a', { class: 'id', href: link('entry', { stream: entry.stream, id: entry.id }) }, entry.id),
    [entry.name, h('small', { class: 'quiet block' }, [entry.type, entry.domain, bytes(entry.bytes)].filter(Boolean).join(' · '))],
    h('code', { class: `preview ${entry.undecodable ? 'wrong' : ''}`, title: entry.undecodable }, entry.preview || '(empty)'),
  ];
}

async function older(context) {
  const { state, get, render, params } = context;
  const log = await get('entries', { ...state.filter, stream: params.stream, before: state.next }).catch((error) => ({ error }));
  if (log.error) return say(log.error.message);
  state.entries.push(...log.entries);
  state.next = log.next;
  state.looked += log.looked_at;
  render();
  say(`${log.entries.length} older entries.`);
}

function toggleTail(context) {
  const { state, tail, params, render } = context;
  state.tailing = !state.tailing;
  state.held = null;
  tail(state.tailing ? params.stream : null, (told) => {
    if (told.error) return say(told.error);
    state.skipped ||= told.skipped;
    const known = new Set(state.entries.map((entry) => entry.id));
    const fresh = told.entries.filter((entry) => !known.has(entry.id)).reverse();
    if (state.held) state.held.unshift(...fresh);
    else state.entries.unshift(...fresh);
    for (const list of [state.entries, state.held ?? []]) list.splice(MOST_SHOWN);
    render();
  });
  render();
}

function pause({ state, render }) {
  if (state.held) {
    state.entries.unshift(...state.held);
    state.held = null;
  } else {
    state.held = [];
  }
  render();
}
