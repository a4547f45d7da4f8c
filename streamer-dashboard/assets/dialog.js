// The question before a change, and the help.

import { h } from './dom.js';

function open(content, first) {
  const before = document.activeElement;
  const box = h('dialog', { 'aria-labelledby': 'dialog-title' }, content);
  document.body.append(box);
  box.showModal();
  (first ? box.querySelector(first) : null)?.focus();
  return new Promise((done) => {
    box.addEventListener('close', () => {
      const answer = box.returnValue;
      box.remove();
      if (before?.isConnected) before.focus();
      done(answer);
    });
  });
}

/** Asks, and tells whether the answer was yes. `affected` says how many messages it is about. */
export async function confirm({ title, text, affected, yes, danger }) {
  const answer = await open(h('form', { method: 'dialog' },
    h('h2', { id: 'dialog-title' }, title),
    h('p', { class: 'affected' }, affected),
    h('p', null, text),
    h('div', { class: 'buttons' },
      h('button', { value: 'no', class: 'no' }, 'Cancel'),
      h('button', { value: 'yes', class: danger ? 'danger' : 'primary' }, yes))), danger ? '.no' : 'button[value=yes]');
  return answer === 'yes';
}

export function help(rows) {
  return open(h('form', { method: 'dialog' },
    h('h2', { id: 'dialog-title' }, 'Keys'),
    h('dl', { class: 'keys' }, rows.map(([keys, what]) => [
      h('dt', null, keys.split(' ').map((key) => [h('kbd', null, key), ' '])),
      h('dd', null, what),
    ])),
    h('div', { class: 'buttons' }, h('button', { value: 'no', class: 'primary' }, 'Close'))), 'button');
}
