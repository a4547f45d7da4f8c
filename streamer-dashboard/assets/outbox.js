// Events that wait in the application's database to be published.

import { h, table, tile, tiles, empty } from './dom.js';
import { count, counted, duration } from './format.js';

export default {
  live: true,
  title: () => 'Outbox',
  identity: () => '',
  load: ({ get }) => get('outbox'),
  render(context) {
    const { data, session } = context;
    const off = session.read_only;
    const why = off ? 'The dashboard is read-only.' : undefined;
    return [
      tiles(
        tile('Waiting', count(data.waiting), 'rows to be published'),
        tile('Oldest', data.oldest_ms === null ? '–' : duration(data.oldest_ms), 'since it was written'),
        tile('Blocked', count(data.blocked_count), 'their keys wait', data.blocked_count ? 'critical' : undefined),
        tile('Kept', count(data.published), 'published rows')),
      h('h2', null, 'Blocked rows'),
      data.blocked.length
        ? [
          h('p', { class: 'tools' }, h('button', { type: 'button', disabled: off, title: why, onclick: () => retry(context, null, data.blocked_count) }, 'Retry all')),
          table('Blocked rows', [{ label: 'Event' }, { label: 'Stream', grow: true }, { label: 'Key', grow: true }, { label: 'Attempts', number: true }, { label: 'Error', grow: true }, { label: 'Actions', unseen: true }],
            data.blocked.map((row) => ({
              key: row.event_id,
              cells: [
                h('span', { class: 'id' }, row.event_id), row.stream, row.ordering_key, count(row.attempts), row.error,
                h('span', { class: 'tools' },
                  h('button', { type: 'button', class: 'small', disabled: off, title: why, 'aria-label': `Retry ${row.event_id}`, onclick: () => retry(context, row.event_id, 1) }, 'Retry'),
                  h('button', { type: 'button', class: 'small danger', disabled: off, title: why, 'aria-label': `Skip ${row.event_id}`, onclick: () => skip(context, row) }, 'Skip')),
              ],
            }))),
        ]
        : empty('No row is blocked', 'A row is blocked when the store refused it for good. A relay publishes the others:', 'streamer outbox relay'),
    ];
  },
};

async function retry({ act, refresh, say }, eventId, number) {
  const done = await act('outbox/retry', eventId ? { event_id: eventId } : { all: true }, {
    title: 'Retry?', affected: `${counted(number, 'row')}.`, text: 'The next run of a relay publishes what is released, and what waits behind it.', yes: 'Retry',
  });
  if (!done) return;
  say(`${counted(done.rows, 'row')} released.`);
  await refresh();
}

async function skip({ act, refresh, say }, row) {
  const done = await act('outbox/skip', { event_id: row.event_id }, {
    title: 'Skip?', affected: '1 row.', text: `The event ${row.event_id} is deleted and never published. The other rows of the key ${row.ordering_key} go on.`, yes: 'Skip', danger: true,
  });
  if (!done) return;
  say('The row was skipped.');
  await refresh();
}
