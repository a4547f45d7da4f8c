// What happened to one resource: a timeline, and its state at any moment.

import { h, empty, field, notice } from './dom.js';
import { ago, count, counted, sentence } from './format.js';
import { pretty } from './json.js';

export default {
  live: false,
  title: (params) => (params.event && params.id ? `Replay ${params.event} ${params.id}` : 'Replay'),
  identity: (params) => `${params.event} ${params.id} ${params.model}`,
  load: ({ get, params }) => (params.event && params.id
    ? get('replay', { event: params.event, id: params.id, model: params.model ? 'true' : '' })
    : { none: true }),
  render(context) {
    const { data, params } = context;
    return [
      form(context),
      data.none
        ? empty('No resource is chosen', 'Name an event and the identifier that it was emitted with. Events that are emitted so leave a history:', "streamer emit user '{\"name\":\"Ann\"}' --identifier 7")
        : data.gone
          ? empty('No history', sentence(data.gone))
          : shown(context, data, params),
    ];
  },
};

function form({ params, go }) {
  return h('form', {
    class: 'tools', role: 'search',
    onsubmit: (event) => {
      event.preventDefault();
      const said = new FormData(event.target);
      go('replay', { event: said.get('event').trim(), id: said.get('id').trim(), model: said.get('model') ? '1' : '' });
    },
  },
  field('Event or model', h('input', { name: 'event', required: true, value: params.event ?? '', 'data-search': true, placeholder: 'user' })),
  field('Identifier', h('input', { name: 'id', required: true, value: params.id ?? '', placeholder: '7' })),
  h('label', { class: 'check' }, h('input', { type: 'checkbox', name: 'model', value: '1', checked: Boolean(params.model) }), 'A model'),
  h('button', { class: 'primary' }, 'Replay'));
}

function shown(context, data, params) {
  const { state, render, link } = context;
  const steps = data.steps;
  const troubles = [
    data.missing.length ? `${counted(data.missing.length, 'message')} of this history ${data.missing.length === 1 ? 'is' : 'are'} gone: ${data.missing.slice(0, 5).join(', ')}.` : null,
    ...data.unreadable.slice(0, 5),
    data.complete ? null : 'The history is too long: only its beginning is shown.',
  ].filter(Boolean);
  if (!steps.length) {
    return [troubles.map((text) => notice('warning', h('p', null, text))), empty('Nothing changed', 'The history has no message that changes a field.')];
  }
  const at = Math.min(state.at ?? steps.length - 1, steps.length - 1);
  const move = (to) => { state.at = Math.max(0, Math.min(steps.length - 1, to)); render(); };
  const step = steps[at];
  const stream = params.model ? null : params.event;
  return [
    troubles.map((text) => notice('warning', h('p', null, text))),
    h('p', { class: 'quiet' }, `${counted(data.messages, 'message')}, ${counted(steps.length, 'change')}${data.deleted ? '; the record was deleted' : ''}.`),
    h('div', { class: 'slider' },
      h('button', { type: 'button', 'aria-label': 'One change back', disabled: at === 0, onclick: () => move(at - 1) }, '‹'),
      h('input', {
        type: 'range', min: '0', max: String(steps.length - 1), value: String(at), 'aria-label': 'Moment',
        'aria-valuetext': `Change ${at + 1} of ${steps.length}, ${new Date(step.at_ms).toISOString()}`,
        oninput: (event) => move(Number(event.target.value)),
      }),
      h('button', { type: 'button', 'aria-label': 'One change on', disabled: at === steps.length - 1, onclick: () => move(at + 1) }, '›'),
      h('output', null, `${count(at + 1)} of ${count(steps.length)}`)),
    h('div', { class: 'sides' },
      h('section', { 'aria-label': 'Timeline' },
        h('h2', null, 'Timeline'),
        h('ol', { class: 'timeline' }, around(steps, at).map(([number, one]) => h('li', { key: one.entry + number, class: number === at ? 'now' : number > at ? 'later' : undefined },
          h('button', { type: 'button', class: 'row', 'aria-current': number === at ? 'step' : undefined, onclick: () => move(number) },
            h('strong', null, ago(one.at_ms)), h('span', { class: 'quiet block' }, one.entry)),
          h('ul', { class: 'plain changes' }, one.changes.slice(0, 20).map((change) => h('li', null,
            h('span', { class: 'name' }, change.field), ' ',
            change.from === null ? null : h('del', null, change.from), change.from === null ? null : ' ', h('ins', null, change.to))),
          one.changes.length > 20 ? h('li', { class: 'quiet' }, `and ${count(one.changes.length - 20)} more`) : null))))),
      h('section', { 'aria-label': 'State' },
        h('h2', null, 'State ', at === steps.length - 1 ? 'now' : h('span', null, 'at ', new Date(step.at_ms).toISOString().replace('T', ' ').slice(0, 19))),
        h('div', { role: 'status' }, pretty(at === steps.length - 1 && data.complete ? data.data : stateAt(steps, at, Boolean(params.model)))),
        stream ? h('p', null, h('a', { href: link('entry', { stream, id: step.entry }) }, 'The message of this change')) : null)),
  ];
}

/** A long timeline is shown around the moment. */
function around(steps, at) {
  const from = Math.max(0, Math.min(at - 25, steps.length - 50));
  return steps.slice(from, from + 50).map((step, place) => [from + place, step]);
}

/** The fields after a change. A model's record that loses all its values at once was deleted. */
function stateAt(steps, at, model) {
  let fields = new Map();
  for (const step of steps.slice(0, at + 1)) {
    for (const change of step.changes) fields.set(change.field, change.to);
    if (model && [...fields.values()].every((value) => value === 'null')) fields = new Map();
  }
  const rows = [...fields].map(([field, value]) => `  ${JSON.stringify(field)}: ${value}`);
  return rows.length ? `{\n${rows.join(',\n')}\n}` : '{}';
}
