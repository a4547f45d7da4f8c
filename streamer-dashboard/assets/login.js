// The token, where one is asked for.

import { h, field } from './dom.js';
import { post } from './api.js';

export function page(then) {
  const error = h('p', { class: 'wrong', role: 'alert' });
  const input = h('input', { type: 'password', name: 'token', autocomplete: 'current-password', required: true });
  return h('form', {
    class: 'login card',
    onsubmit: async (event) => {
      event.preventDefault();
      error.textContent = '';
      try {
        await post('login', { token: input.value });
        input.value = '';
        then();
      } catch (refused) {
        error.textContent = refused.message;
        input.select();
      }
    },
  },
  h('h1', null, 'Log in'),
  h('p', null, 'The token is in the file of --token-file, or in STREAMER_DASHBOARD_TOKEN, where this dashboard was started.'),
  field('Token', input),
  error,
  h('button', { class: 'primary' }, 'Log in'));
}
