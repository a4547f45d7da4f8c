// All streams and groups: who is behind, and what endangers messages.

import { h, table, tile, tiles, empty, notice, badge, field } from './dom.js';
import { count, counted, lag, rate, age, duration } from './format.js';
import { spark } from './chart.js';
import { finding } from './doctor.js';

const SORTS = { lag: 'Lag', waits: 'Waiting time', pending: 'Pending', oldest: 'Oldest pending', incoming: 'Rate in', stream: 'Name' };

export default {
  live: true,
  title: () => 'Overview',
  identity: () => '',
  load: ({ get, params, state }) => get('overview', { q: params.q, sort: params.sort, limit: state.limit }),
  render({ data, params, state, set, refresh, link }) {
    const totals = data.totals;
    if (!data.rows.length && !params.q) {
      return [findings(data, link), empty('No stream yet', 'A stream appears here when its first event is emitted. Emit one:', "streamer emit order.placed '{\"id\":1}'")];
    }
    return [
      findings(data, link),
      tiles(
        tile('Streams', count(totals.streams), counted(totals.entries, 'entry', 'entries')),
        tile('Groups', count(totals.groups)),
        tile('Lag', lag(totals.lag), 'to be delivered'),
        tile('Pending', count(totals.pending), 'delivered, not settled'),
        tile('Failures', data.failures === null ? '?' : h('a', { href: link('failed') }, count(data.failures)), 'in the failed list', data.failures ? 'warning' : undefined),
        tile('Consumers', count(totals.alive), totals.stale ? `alive, and ${count(totals.stale)} stale` : 'alive'),
        totals.scheduled
          ? tile('For later', count(totals.scheduled), totals.overdue ? `events, ${count(totals.overdue)} overdue` : 'events, not due yet', totals.overdue ? 'critical' : undefined)
          : null,
        data.archive
          ? tile('Archive', h('a', { href: link('archive') }, data.archive.messages === null ? '?' : atLeast(data.archive.messages, data.archive.exact)), 'messages')
          : null,
        data.outbox
          ? tile('Outbox', h('a', { href: link('outbox') }, atLeast(data.outbox.waiting, data.outbox.exact)), waiting(data.outbox), data.outbox.blocked ? 'critical' : undefined)
          : null),
      h('form', { class: 'tools', role: 'search', onsubmit: (event) => event.preventDefault() },
        field('Find a stream or group', h('input', {
          type: 'search', value: params.q ?? '', 'data-search': true, placeholder: 'order',
          oninput: (event) => set({ q: event.target.value.trim() }),
        })),
        field('Sort by', h('select', { onchange: (event) => set({ sort: event.target.value }) },
          Object.entries(SORTS).map(([value, name]) => h('option', { value, selected: (params.sort ?? 'lag') === value }, name)))),
        h('button', { type: 'button', 'data-pause': true, 'aria-pressed': String(Boolean(state.paused)), onclick: () => { state.paused = !state.paused; refresh(); } },
          state.paused ? 'Go on' : 'Pause')),
      data.rows.length
        ? table('Streams and groups', [
          { label: 'Stream', grow: true }, { label: 'Group', grow: true }, { label: 'Lag', number: true }, { label: 'Waits', number: true },
          { label: 'Pending', number: true }, { label: 'Oldest', number: true }, { label: 'Alive', number: true },
          { label: 'In/s', number: true }, { label: 'Out/s', number: true },
        ], data.rows.map((row) => cells(row, link)))
        : empty('Nothing found', `No stream or group has “${params.q}” in its name.`),
      data.count > data.rows.length
        ? h('p', null, `${count(data.rows.length)} of ${count(data.count)} are shown. `,
          h('button', { type: 'button', onclick: () => { state.limit = 1000; refresh(); } }, 'Show up to 1,000'))
        : null,
      data.complete ? null : notice('warning', h('p', null, 'The store has more streams than are looked at.')),
      data.missing.length
        ? notice('warning', h('p', null, `These events have a listener, and no stream yet: ${data.missing.join(', ')}.`))
        : null,
      data.refused.map((refused) => notice('warning', h('p', null, refused.error))),
    ];
  },
};

function atLeast(number, exact) {
  return `${count(number)}${exact ? '' : '+'}`;
}

function waiting(outbox) {
  if (outbox.blocked) return `to be published, ${count(outbox.blocked)} blocked`;
  return outbox.oldest_ms === null ? 'to be published' : `to be published, the oldest for ${duration(outbox.oldest_ms)}`;
}

function findings(data, link) {
  if (data.diagnosed_at_ms === null) return null;
  if (!data.findings.length) return null;
  return h('section', { class: 'findings', 'aria-label': 'What Doctor found' },
    data.findings.slice(0, 3).map((one) => finding(one)),
    h('p', null, h('a', { href: link('doctor') }, data.findings.length > 3 ? `All ${data.findings.length} findings of Doctor` : 'All checks of Doctor')));
}

function cells(row, link) {
  const group = row.group;
  const overdue = row.scheduled?.overdue;
  const name = [h('a', { href: link('stream', { stream: row.stream }) }, row.stream), overdue ? [' ', badge(`${count(overdue)} overdue`, 'critical')] : null];
  const incoming = withSpark(rate(row.incoming), row.incoming_series, 'messages in each second');
  if (!group) {
    return { key: row.stream, cells: [name, h('span', { class: 'quiet' }, 'no group'), '–', '–', '–', '–', '–', incoming, '–'] };
  }
  const alive = `${count(group.alive)} of ${count(group.alive + group.stale)}`;
  return {
    key: `${row.stream} ${group.name}`,
    cells: [
      name,
      [h('a', { href: link('group', { stream: row.stream, group: group.name }) }, group.name), group.abandoned ? [' ', badge('nobody listens', 'critical')] : null],
      withSpark(lag(group.lag), group.lag_series, 'messages to be delivered'),
      group.lag_ms === null ? '–' : age(group.lag_ms),
      count(group.pending),
      group.oldest ? [age(group.oldest.age_ms), h('small', { class: 'quiet block' }, group.oldest.consumer)] : '–',
      h('span', { class: group.alive ? '' : 'quiet' }, alive),
      incoming,
      withSpark(rate(group.acknowledged), group.acknowledged_series, 'messages settled each second'),
    ],
  };
}

export function withSpark(text, series, what) {
  return h('span', { class: 'with-spark' }, spark(series, what), h('span', null, text));
}
