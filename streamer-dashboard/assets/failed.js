// What listeners could not handle: grouped by kind, looked into, retried, forgotten.

import { h, table, empty, field, badge, notice } from './dom.js';
import { count, counted, dateOf } from './format.js';
import { payload } from './entry.js';

const FILTERS = ['stream', 'receiver', 'error', 'since', 'id'];

export default {
  live: true,
  title: () => 'Failed',
  identity: (params) => params.from ?? '',
  load: ({ get, params }) => get('failed', { ...filter(params), from: params.from ?? '' }),
  render(context) {
    const { data, params, session, state } = context;
    state.selected ??= new Set();
    if (!data.listed) {
      return empty('Nothing has failed', 'A message appears here when a listener has given it up. The same on the command line:', 'streamer failed list --summary');
    }
    const shown = new Set(data.failures.map((one) => one.member));
    for (const member of state.selected) if (!shown.has(member)) state.selected.delete(member);
    if (state.open && !shown.has(state.open.member) && data.matching <= data.failures.length) state.open = null;
    return [
      h('p', { class: 'quiet' }, `${counted(data.listed, 'failure')} listed${filtered(params) ? `, ${count(data.matching)} match` : ''}${data.complete ? '' : `, of the ${count(data.looked_at)} of this part of the list`}.`),
      data.complete ? null : notice('info', h('p', null, 'The list is long and has no order in the store. It is shown in parts, each with its newest failures first.')),
      kinds(context),
      tools(context),
      session.cannot_retry ? notice('info', h('p', null, `Retry is off here. ${session.cannot_retry}`)) : null,
      h('div', { class: 'sides wide' }, list(context), detail(context)),
    ];
  },
};

function filter(params) {
  return Object.fromEntries(FILTERS.map((name) => [name, params[name] ?? '']));
}

function filtered(params) {
  return FILTERS.some((name) => params[name]);
}

function kinds({ data, set }) {
  if (!data.kinds.length) return null;
  return [
    h('h2', null, 'Kinds'),
    table('Kinds of failures', [{ label: 'Failures', number: true }, { label: 'Error', grow: true }, { label: 'Listener' }, { label: 'Stream' }, { label: 'First', number: true }, { label: 'Last', number: true }],
      data.kinds.slice(0, 20).map((kind) => ({
        key: `${kind.stream} ${kind.receiver} ${kind.error}`,
        cells: [
          count(kind.count),
          kind.stream
            ? h('button', { type: 'button', class: 'link', onclick: () => set({ from: '', stream: kind.stream, receiver: kind.receiver, error: fixed(kind.error) }) }, kind.error || '(no error text)')
            : kind.error,
          kind.receiver, kind.stream, dateOf(kind.first), dateOf(kind.last),
        ],
      }))),
    data.kinds.length > 20 ? h('p', { class: 'quiet' }, `${count(data.kinds.length - 20)} further kinds are not shown; use the filter.`) : null,
  ];
}

/** The longest part of a kind that all its errors contain: what differs is # or …. */
function fixed(kind) {
  return kind.split(/[#…]|['"`]/).reduce((best, part) => (part.length > best.length ? part : best), '').trim();
}

function tools(context) {
  const { params, set, link } = context;
  const input = (name, placeholder) => h('input', { name, value: params[name] ?? '', placeholder });
  return h('form', {
    class: 'tools', role: 'search',
    onsubmit: (event) => {
      event.preventDefault();
      set({ from: '', ...Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, value.trim()])) });
    },
  },
  field('Error contains', h('input', { name: 'error', value: params.error ?? '', 'data-search': true, placeholder: 'timeout' })),
  field('Stream', input('stream', 'order.placed')),
  field('Listener', input('receiver', 'receipt')),
  field('Since', input('since', '2 hours')),
  field('Message ID', input('id', '')),
  h('button', { class: 'primary' }, 'Filter'),
  filtered(params) ? h('a', { class: 'button', href: link('failed') }, 'All failures') : null);
}

function list(context) {
  const { data, params, state, session, render } = context;
  const selected = state.selected;
  const off = session.read_only;
  const button = (text, does, disabled, why, tone) => h('button', { type: 'button', class: tone, disabled, title: disabled ? why : undefined, onclick: does }, text);
  const retryWhy = session.cannot_retry;
  const none = 'Select failures first.';
  return h('section', { 'aria-label': 'Failures' },
    h('h2', null, 'Failures'),
    h('div', { class: 'tools' },
      h('label', { class: 'check' }, h('input', {
        type: 'checkbox', checked: selected.size > 0 && selected.size === data.failures.length,
        indeterminate: selected.size > 0 && selected.size < data.failures.length,
        onchange: (event) => {
          selected.clear();
          if (event.target.checked) data.failures.forEach((one) => selected.add(one.member));
          render();
        },
      }), selected.size ? `${count(selected.size)} selected` : 'Select all shown'),
      button('Retry selected', () => act(context, 'retry', { members: [...selected] }), Boolean(retryWhy) || !selected.size, retryWhy ?? none),
      button('Forget selected', () => act(context, 'forget', { members: [...selected] }), off || !selected.size, off ? 'The dashboard is read-only.' : none, 'danger'),
      button(filtered(params) ? 'Retry all matches' : 'Retry all', () => act(context, 'retry', { filter: filter(params) }), Boolean(retryWhy), retryWhy),
      button(filtered(params) ? 'Forget all matches' : 'Flush', () => act(context, 'forget', { filter: filter(params) }), off, 'The dashboard is read-only.', 'danger')),
    data.failures.length
      ? h('ul', { class: 'failures' }, data.failures.map((one) => item(context, one)))
      : params.from || data.next
        ? empty('No failure here matches', data.next ? 'There may be some in the next part of the list.' : 'Those that were here are gone, or the filter leaves them out.')
        : empty('No failure matches', 'Change the filter, or show all failures.'),
    pages(context));
}

/** From the newest failures to the oldest. */
function pages({ data, params, link }) {
  if (!data.next && !params.from) return null;
  const to = (from) => link('failed', { ...filter(params), from });
  return h('div', { class: 'tools', role: 'navigation', 'aria-label': 'Pages of failures' },
    params.from ? h('a', { class: 'button', href: to('') }, 'Newest') : null,
    data.next ? h('a', { class: 'button', href: to(data.next) }, data.next_is_part ? 'Next part of the list' : 'Older') : null,
    h('span', { class: 'quiet' }, `${params.from ? '' : 'The newest '}${counted(data.failures.length, 'failure')} of ${count(data.matching)}${data.next ? '' : '; there are no older ones'}.`));
}

function item(context, one) {
  const { state, render } = context;
  return h('li', { key: one.member, class: state.open?.member === one.member ? 'open' : undefined },
    h('input', {
      type: 'checkbox', checked: state.selected.has(one.member), 'aria-label': `Select ${one.id ?? 'unreadable'} of ${one.receiver ?? ''}`,
      onchange: (event) => {
        if (event.target.checked) state.selected.add(one.member);
        else state.selected.delete(one.member);
        render();
      },
    }),
    h('button', {
      type: 'button', class: 'row', 'aria-expanded': String(state.open?.member === one.member), 'aria-controls': 'detail',
      onclick: () => open(context, one),
    },
    h('strong', { class: 'first-line' }, one.unreadable ?? (one.error.split('\n')[0] || '(no error text)')),
    h('span', { class: 'quiet block' }, one.unreadable ? 'cannot be read' : [one.receiver, ' · ', one.stream, ' · ', one.group ? `${one.group} · ` : '', dateOf(one.date), one.attempts > 1 ? ` · ${count(one.attempts)} attempts` : ''])));
}

async function open(context, one) {
  const { state, get, render } = context;
  state.open = one;
  state.message = null;
  render();
  if (one.unreadable) return;
  try {
    state.message = (await get('payload', { stream: one.stream, id: one.id }));
  } catch (error) {
    state.message = { error: error.message };
  }
  if (state.open !== one) return;
  render();
  if (matchMedia('(max-width: 900px)').matches) document.getElementById('detail')?.scrollIntoView({ block: 'nearest' });
}

function detail(context) {
  const { state, session, link } = context;
  const one = state.open;
  if (!one) return h('section', { class: 'card', id: 'detail', 'aria-label': 'Detail' }, empty('No failure is open', 'Choose one to see its payload beside its error.'));
  const off = session.read_only;
  const message = state.message;
  return h('section', { class: 'card', id: 'detail', 'aria-label': 'Detail' },
    h('h2', null, one.receiver ?? 'Unreadable'),
    h('div', { class: 'tools' },
      h('button', { type: 'button', disabled: Boolean(session.cannot_retry) || Boolean(one.unreadable), title: session.cannot_retry ?? undefined, onclick: () => act(context, 'retry', { members: [one.member] }) }, 'Retry'),
      h('button', { type: 'button', class: 'danger', disabled: off, onclick: () => act(context, 'forget', { members: [one.member] }) }, 'Forget'),
      one.unreadable ? null : h('a', { class: 'button', href: link('entry', { stream: one.stream, id: one.id }) }, 'Its life')),
    one.unreadable ? h('p', null, one.unreadable) : h('div', { class: 'sides' },
      h('div', null,
        h('h3', null, 'Error'),
        h('p', { class: 'quiet' }, dateOf(one.date), one.first_failure ? [', the first ', dateOf(one.first_failure)] : null, `, ${one.attempts === 1 ? '1 attempt' : `${count(one.attempts)} attempts`}`,
          one.group ? `, in the group ${one.group}` : '',
          one.groups?.length ? `, pending in ${one.groups.join(', ')}` : ''),
        h('pre', { class: 'error', tabindex: '0' }, one.error)),
      h('div', null,
        h('h3', null, 'Payload', message?.from === 'archive' ? [' ', badge('from the archive')] : null),
        !message ? h('p', { class: 'quiet' }, 'Loading…')
          : message.error || message.gone ? [notice('warning', h('p', null, message.error ?? message.gone)), one.fields ? h('pre', { class: 'error', tabindex: '0' }, JSON.stringify(one.fields, null, 1)) : null]
            : payload(message.message))));
}

async function act(context, what, which) {
  const { act: send, get, state, say, refresh } = context;
  let number = { count: which.members?.length, exact: true };
  if (which.filter) {
    say('Counting.');
    try {
      number = await get('failed/count', which.filter);
    } catch (error) {
      say(error.message);
      number = { count: null, exact: true };
    }
  }
  const how = `${number.exact ? '' : 'More than '}${counted(number.count, 'failure')}`;
  const answer = await send(`failed/${what}`, { ...which, expected: number.exact ? number.count : null }, what === 'retry'
    ? { title: 'Retry?', affected: `${how}.`, text: 'The listeners run once more, in the process of this dashboard. A failure leaves the list when its listener succeeds.', yes: 'Retry' }
    : { title: 'Forget?', affected: `${how}.`, text: 'The failures leave the list and cannot be retried any more. Their messages stay on their streams.', yes: 'Forget', danger: true });
  if (!answer) return;
  state.selected.clear();
  if (state.open && which.members?.includes(state.open.member)) state.open = null;
  await refresh();
}
