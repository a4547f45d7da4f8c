// One group: its consumers, what is pending, and moving it.

import { h, table, tile, tiles, badge, empty, field, notice } from './dom.js';
import { count, counted, lag, rate, age, ago, duration, sentence, timeOf } from './format.js';
import { withSpark } from './overview.js';

export default {
  live: true,
  title: (params) => `Group ${params.group ?? ''}`,
  identity: (params) => `${params.stream} ${params.group}`,
  load: ({ get, params }) => get('group', { stream: params.stream, group: params.group, after: params.after, consumer: params.consumer }),
  render(context) {
    const { data, params, link, set } = context;
    if (data.gone) {
      return [
        h('p', { class: 'crumbs' }, h('a', { href: link('stream', { stream: params.stream }) }, `Stream ${params.stream}`)),
        empty('The group is gone', `${sentence(data.gone)} A listener makes the group again, and begins with the oldest message of the stream:`, `streamer listen ${params.stream} --group ${params.group}`),
      ];
    }
    const group = data.group;
    return [
      h('p', { class: 'crumbs' }, h('a', { href: link('stream', { stream: params.stream }) }, `Stream ${params.stream}`)),
      group.abandoned ? notice('critical', h('p', null, 'Messages wait or are pending, and no consumer was active lately. Start a listener of this group.')) : null,
      group.missed ? notice('critical', h('p', null, `${counted(group.missed, 'message')} left the stream before the group was delivered them.`)) : null,
      tiles(
        tile('Lag', withSpark(lag(group.lag), group.lag_series, 'messages to be delivered'), 'to be delivered'),
        tile('Waits', group.lag_ms === null ? '–' : age(group.lag_ms), 'the first of them'),
        tile('Pending', count(group.pending), 'delivered, not settled'),
        tile('Oldest pending', group.oldest ? age(group.oldest.age_ms) : '–', group.oldest ? `with ${group.oldest.consumer}` : null),
        tile('Out/s', withSpark(rate(group.acknowledged), group.acknowledged_series, 'messages settled each second')),
        tile('Position', h('span', { class: 'id' }, group.last_delivered_id), `the stream ends at ${data.last_id}`)),
      h('h2', null, 'Consumers'),
      data.consumers.length
        ? table('Consumers', [{ label: 'Consumer', grow: true }, { label: 'State' }, { label: 'Pending', number: true }, { label: 'Idle', number: true }],
          data.consumers.map((one) => ({
            key: one.name,
            cells: [
              one.name,
              one.alive ? badge('alive', 'good') : badge('stale', 'warning'),
              one.pending ? h('a', { href: link('group', { stream: params.stream, group: params.group, consumer: one.name }) }, count(one.pending)) : '0',
              duration(one.idle_ms),
            ],
          })))
        : empty('No consumer', 'Nobody has listened in this group. Begin:', `streamer listen ${params.stream} --group ${params.group}`),
      h('h2', null, 'Pending, oldest first'),
      params.consumer || params.after
        ? h('p', { class: 'tools' }, params.consumer ? `Only those of ${params.consumer}. ` : null,
          h('a', { class: 'button', href: link('group', { stream: params.stream, group: params.group }) }, 'All from the beginning'))
        : null,
      data.pending.length
        ? table('Pending entries', [{ label: 'Age', number: true }, { label: 'ID' }, { label: 'Consumer', grow: true }, { label: 'Idle', number: true }, { label: 'Deliveries', number: true }],
          data.pending.map((one) => ({
            key: one.id,
            cells: [
              timeOf(one.id) === null ? '–' : ago(timeOf(one.id)),
              h('a', { class: 'id', href: link('entry', { stream: params.stream, id: one.id }) }, one.id),
              one.consumer, duration(one.idle_ms), count(one.deliveries),
            ],
          })))
        : empty('Nothing is pending', 'Every message that was delivered is settled.'),
      data.next ? h('p', null, h('button', { type: 'button', onclick: () => set({ after: data.next }) }, 'Next')) : null,
      reset(context),
    ];
  },
};

function reset(context) {
  const { params, state, session, render } = context;
  const why = session.read_only ? 'The dashboard is read-only.' : null;
  return h('section', { class: 'card', 'aria-label': 'Move the group' },
    h('h2', null, 'Move the group'),
    h('p', { class: 'quiet' }, 'Back means that listeners get messages again; forward means that the group never gets those in between. What is pending stays pending.'),
    h('form', { class: 'tools', onsubmit: (event) => { event.preventDefault(); dryRun(context); } },
      field('To', h('input', {
        name: 'to', required: true, value: state.to ?? '', placeholder: 'start', disabled: Boolean(why),
        oninput: (event) => { state.to = event.target.value; state.plan = null; render(); },
      }), 'start, now, an entry ID, a date, or an age such as 2 hours'),
      h('button', { disabled: Boolean(why) }, 'Dry run'),
      h('button', { type: 'button', class: 'danger', disabled: Boolean(why) || !state.plan, onclick: () => move(context) }, 'Move')),
    why ? h('p', { class: 'quiet' }, why) : state.plan ? h('p', { class: 'plan', role: 'status' }, told(state.plan)) : h('p', { class: 'quiet' }, `A dry run comes first. On the command line: streamer group reset ${params.stream} ${params.group} --to start --dry-run`));
}

function effect(plan) {
  const more = plan.exact ? '' : 'more than ';
  if (plan.again) return `${more}${counted(plan.again, 'message')} will be delivered again`;
  if (plan.left_out) return `${more}${counted(plan.left_out, 'message')} will never be delivered`;
  return 'no message lies in between';
}

function told(plan) {
  return `From ${plan.from} to ${plan.to}: ${effect(plan)}. ${counted(plan.pending, 'message')} ${plan.pending === 1 ? 'stays' : 'stay'} pending.${plan.beyond_the_end ? ' That is after the last entry.' : ''}`;
}

async function dryRun({ params, state, act, render, say }) {
  const plan = await act('group/reset', { stream: params.stream, group: params.group, to: state.to ?? '', dry_run: true });
  if (!plan) return;
  state.plan = plan;
  render();
  say(told(plan));
}

async function move({ params, state, act, refresh, say }) {
  const plan = state.plan;
  const done = await act('group/reset', { stream: params.stream, group: params.group, to: state.to, dry_run: false }, {
    title: `Move the group ${params.group}?`,
    affected: `${effect(plan)[0].toUpperCase()}${effect(plan).slice(1)}.`,
    text: told(plan),
    yes: 'Move',
    danger: true,
  });
  if (!done) return;
  state.plan = null;
  state.to = '';
  say(`The group was moved to ${done.to}.`);
  await refresh();
}
