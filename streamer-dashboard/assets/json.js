// JSON text in colours. The text stays as the server sent it; only its parts are put into elements.

import { h } from './dom.js';

const PART = /"(?:[^"\\]|\\.)*"(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\b(?:true|false|null)\b/g;
const MOST = 100000;

export function pretty(text) {
  const pre = h('pre', { class: 'json', tabindex: '0' });
  if (text.length > MOST) {
    pre.textContent = text;
    return pre;
  }
  let at = 0;
  for (const match of text.matchAll(PART)) {
    if (match.index > at) pre.append(text.slice(at, match.index));
    const kind = match[1] ? 'key' : match[0].startsWith('"') ? 'text' : /^[-\d]/.test(match[0]) ? 'numeral' : 'word';
    pre.append(h('span', { class: kind }, match[0]));
    at = match.index + match[0].length;
  }
  pre.append(text.slice(at));
  return pre;
}
