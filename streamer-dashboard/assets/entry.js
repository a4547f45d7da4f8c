// One message: what is in it, and its whole life.

import { h, badge, empty, code, table, notice } from './dom.js';
import { ago, age, bytes, count, dateOf, duration, timeOf, until } from './format.js';
import { pretty } from './json.js';

export default {
  live: false,
  title: (params) => `Message ${params.id ?? ''}`,
  identity: (params) => `${params.stream} ${params.id}`,
  load: ({ get, params }) => get('entry', { stream: params.stream, id: params.id }),
  render({ data, params, link, refresh }) {
    const back = h('p', { class: 'crumbs' }, h('a', { href: link('stream', { stream: params.stream }) }, `Stream ${params.stream}`));
    if (!data.known) {
      return [back, empty('Nothing is known of this message', 'It is not on the stream, and neither the failed list nor the archive has it. The same on the command line:', `streamer show ${params.stream} ${params.id}`)];
    }
    const message = data.message;
    const at = timeOf(data.id);
    return [
      back,
      h('p', { class: 'tools' },
        data.scheduled
          ? h('span', null, 'It waits under this ID until it is due, ', until(timeOf(data.id, Infinity)))
          : at === null ? null : h('span', null, 'Emitted ', ago(at)),
        data.scheduled ? badge('for later') : data.on_stream ? badge('on the stream', 'good') : badge('not on the stream', 'warning'),
        data.archived ? badge('archived', 'good') : null,
        data.failures.length ? badge('failed', 'critical') : null,
        h('button', { type: 'button', onclick: refresh }, 'Look again')),
      h('div', { class: 'sides' },
        h('section', { 'aria-label': 'Payload' }, h('h2', null, 'Payload'), message ? payload(message) : empty('No entry', 'Its entry is neither on the stream nor in the archive.')),
        h('section', { 'aria-label': 'Life' }, h('h2', null, 'Life'), life(data, params, link))),
      data.refused.map((refused) => notice('warning', h('p', null, refused.error))),
    ];
  },
};

/** The payload, the headers and the raw fields. */
export function payload(message) {
  return [
    h('p', { class: 'quiet' }, [`${message.type} ${message.name}`, message.domain && `from ${message.domain}`, bytes(message.bytes)].filter(Boolean).join(' · ')),
    message.undecodable ? notice('critical', h('p', null, message.undecodable)) : pretty(message.payload),
    message.headers.length
      ? [h('h3', null, 'Headers'), h('dl', { class: 'pairs' }, message.headers.map(([name, value]) => [h('dt', null, name), h('dd', null, value)]))]
      : null,
    h('details', null, h('summary', null, 'Raw fields'),
      h('dl', { class: 'pairs raw' }, message.fields.map(([name, value]) => [h('dt', null, name), h('dd', null, value)]))),
  ];
}

const STATES = {
  waiting: () => [badge('waits'), ' not delivered yet'],
  missed: () => [badge('missed', 'critical'), ' left the stream before it was delivered'],
  settled: () => [badge('settled', 'good'), ' acknowledged, or the group began after it'],
  pending: (group) => [badge('pending', 'warning'), ` with ${group.consumer}, delivered ${group.deliveries === 1 ? 'once' : `${count(group.deliveries)} times`}, idle for ${duration(group.idle_ms)}`],
};

function life(data, params, link) {
  const to = (id, stream) => h('a', { class: 'id', href: link('entry', { stream: stream ?? params.stream, id }) }, id);
  return [
    data.groups.length
      ? table('Groups', [{ label: 'Group' }, { label: 'State', grow: true }], data.groups.map((group) => ({
        key: group.name,
        cells: [h('a', { href: link('group', { stream: params.stream, group: group.name }) }, group.name), STATES[group.state]?.(group) ?? group.state],
      })))
      : h('p', { class: 'quiet' }, 'No group has it.'),
    data.failures.map((failure) => h('article', { class: 'finding critical', key: failure.receiver },
      h('h3', null, badge('failed', 'critical'), ' ', failure.receiver),
      h('p', null, dateOf(failure.date), `, ${failure.attempts === 1 ? '1 attempt' : `${count(failure.attempts)} attempts`}`),
      h('pre', { class: 'error', tabindex: '0' }, failure.error))),
    data.failures_complete ? null : h('p', { class: 'quiet' }, 'The failed list is too long: not all of it was looked at.'),
    h('ul', { class: 'plain' },
      h('li', null, data.archive_error ? `The archive could not be asked: ${data.archive_error}`
        : data.archived ? 'The archive has it.' : data.archive_asked ? 'The archive does not have it.' : 'No archive is configured.'),
      data.earlier_ids.length ? h('li', null, 'Before it was archived and restored it was ', data.earlier_ids.map((id) => [id, ' '])) : null,
      data.restored_as ? h('li', null, 'It was restored, and is now ', to(data.restored_as)) : null,
      data.caused.messages.map(([stream, id]) => h('li', null, 'It caused ', to(id, stream), ` of ${stream}`)),
      data.age_ms === null ? null : h('li', null, 'Its age by its ID: ', age(data.age_ms))),
    h('p', { class: 'quiet' }, 'On the command line:'),
    code(`streamer show ${params.stream} ${params.id}`),
  ];
}
