// Messages that left their streams, and the way back.

import { h, table, empty, field, say } from './dom.js';
import { counted } from './format.js';
import { entryCells } from './stream.js';

export default {
  live: false,
  title: () => 'Archive',
  identity: (params) => JSON.stringify(params),
  async load({ get, params, state }) {
    // What was restored by then is gone from all pages, so they are read again from the first on.
    const pages = state.pages ?? 1;
    const messages = [];
    let page = { next: {} };
    for (let at = 0; at < pages && page.next; at += 1) {
      page = await get('archive', { stream: params.stream, ...page.next });
      messages.push(...page.messages);
    }
    return { ...page, messages };
  },
  render(context) {
    const { data, params, state, session, set, refresh, link } = context;
    const off = session.read_only;
    const why = off ? 'The dashboard is read-only.' : undefined;
    return [
      h('p', { class: 'quiet' }, data.location),
      h('form', {
        class: 'tools', role: 'search',
        onsubmit: (event) => { event.preventDefault(); set({ stream: new FormData(event.target).get('stream').trim() }); },
      },
      field('Stream', h('input', { name: 'stream', value: params.stream ?? '', 'data-search': true, placeholder: 'order.placed' })),
      h('button', { class: 'primary' }, 'Filter'),
      params.stream ? h('a', { class: 'button', href: link('archive') }, 'All streams') : null,
      h('button', { type: 'button', disabled: off || !data.messages.length, title: why, onclick: () => restoreAll(context) },
        params.stream ? 'Restore all of the stream' : 'Restore all')),
      data.messages.length
        ? table('Archived messages', [
          { label: 'When', number: true }, { label: 'ID' }, { label: 'Event', grow: true }, { label: 'Payload', grow: true }, { label: 'Stream' }, { label: 'Restore', unseen: true },
        ], data.messages.map((message) => ({
          key: `${message.stream} ${message.id}`,
          cells: [
            ...entryCells(message, link), message.stream,
            h('button', { type: 'button', class: 'small', disabled: off, title: why, 'aria-label': `Restore ${message.id} of ${message.stream}`, onclick: () => restore(context, message) }, 'Restore'),
          ],
        })))
        : empty('The archive is empty', params.stream ? `It has no message of ${params.stream}.` : 'Messages go there when they are old, or after they were handled:',
          params.stream ? null : 'streamer archive --streams order.placed --older-than "30 days" --dry-run'),
      data.next && data.messages.length
        ? h('p', null, h('button', { type: 'button', onclick: () => { state.pages = (state.pages ?? 1) + 1; refresh(); } }, 'More'))
        : null,
    ];
  },
};

async function restore({ act }, message) {
  await act('archive/restore', { stream: message.stream, id: message.id, expected: 1 }, {
    title: 'Restore?', affected: '1 message.', yes: 'Restore',
    text: `Message ${message.id} goes back to the stream ${message.stream} with a new ID, and its listeners get it again.`,
  });
}

async function restoreAll({ act, get, params }) {
  let number;
  try {
    say('Counting.');
    number = await get('archive/count', { stream: params.stream });
  } catch (error) {
    return say(error.message);
  }
  const how = `${number.exact ? '' : 'More than '}${counted(number.count, 'message')}`;
  const which = params.stream ? { stream: params.stream } : { all: true };
  await act('archive/restore', { ...which, expected: number.exact ? number.count : null }, {
    title: 'Restore all?', affected: `${how}.`, yes: 'Restore', danger: true,
    text: `${params.stream ? `All archived messages of ${params.stream}` : 'All archived messages'} go back to their streams with new IDs, and their listeners get them again.`,
  });
}
