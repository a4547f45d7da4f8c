// What is wrong, what it means, and the command that fixes it.

import { h, badge, code, empty } from './dom.js';
import { ago, counted } from './format.js';

const TONES = { critical: 'critical', warning: 'warning', notice: '' };

export default {
  live: false,
  title: () => 'Doctor',
  identity: () => '',
  load: ({ get, state }) => get('doctor', { again: state.again ? 'true' : '' }),
  render({ data, state, refresh }) {
    return [
      h('p', { class: 'tools' },
        h('span', null, `${counted(data.checks.length, 'check')}: ${data.critical} critical, ${counted(data.warnings, 'warning')}, ${counted(data.notices, 'notice')}. Made `, ago(data.diagnosed_at_ms), '.'),
        h('button', { type: 'button', onclick: async () => { state.again = true; await refresh(); state.again = false; } }, 'Check again')),
      data.findings.length
        ? h('section', { class: 'findings', 'aria-label': 'Findings' }, data.findings.map(finding))
        : empty('Nothing is wrong', 'Every check passed. For monitoring, the same is an exit code:', 'streamer doctor --json'),
      data.scope ? h('p', { class: 'quiet' }, data.scope) : null,
      h('details', null, h('summary', null, 'The checks that were made'),
        h('ul', { class: 'columns' }, data.checks.map((check) => h('li', null, check.replaceAll('_', ' '))))),
    ];
  },
};

/** One finding. */
export function finding(one) {
  return h('article', { class: `finding ${TONES[one.importance] ?? ''}`, key: `${one.check} ${one.subject}` },
    h('h3', null, badge(one.importance, TONES[one.importance]), ' ', one.subject, ': ', one.found),
    h('p', null, one.meaning),
    one.fix ? (/^(streamer|redis-cli) [^,;]*$/.test(one.fix) ? code(one.fix) : h('p', { class: 'fix' }, h('strong', null, 'Fix: '), one.fix)) : null);
}
