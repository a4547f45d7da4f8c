// Numbers, times and sizes for people.

import { h } from './dom.js';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

export function count(value) {
  return value === null || value === undefined ? '?' : whole.format(value);
}

/** `1 message`, `2 messages`. */
export function counted(value, noun, plural = `${noun}s`) {
  return `${count(value)} ${value === 1 ? noun : plural}`;
}

/** How many wait; what the store does not know is never 0. */
export function lag(value) {
  if (!value || value.messages === null) return '?';
  return count(value.messages) + (value.exact ? '' : '+');
}

export function rate(value) {
  if (value === null || value === undefined) return '?';
  return value >= 100 ? whole.format(value) : tenths.format(value);
}

export function bytes(value) {
  if (value === null || value === undefined) return '?';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at ? tenths.format(value) : value} ${units[at]}`;
}

/** `850 ms`, `12 s`, `5 min`, `3 h 20 min`, `4 d`. */
export function duration(ms) {
  if (ms === null || ms === undefined) return '?';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return days < 10 && hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

function exact(ms) {
  return new Date(ms).toISOString().replace('T', ' ').replace('Z', ' UTC');
}

/** How long ago, and the exact time on hover. */
export function ago(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return '?';
  const past = Date.now() - ms;
  const text = past < 0 ? 'just now' : past < 1500 ? 'just now' : `${duration(past)} ago`;
  return h('time', { datetime: new Date(ms).toISOString(), title: exact(ms) }, text);
}

/** When something is due, and the exact time on hover. */
export function until(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return '?';
  const left = ms - Date.now();
  const text = left > 0 ? `in ${duration(left)}` : left > -1500 ? 'now' : `${duration(-left)} ago`;
  // No date is later.
  const shown = Math.min(ms, 8.64e15);
  return h('time', { datetime: new Date(shown).toISOString(), title: exact(shown) }, text);
}

/** An age that the server measured, and the exact time on hover. */
export function age(ageMs) {
  if (ageMs === null || ageMs === undefined) return '?';
  const at = Date.now() - ageMs;
  return h('time', { datetime: new Date(at).toISOString(), title: exact(at) }, duration(ageMs));
}

/** The time in an entry ID; null where it is none. */
export function timeOf(id, latest = Date.now() + 3600000) {
  const ms = Number(String(id).split('-')[0]);
  return ms >= 1e12 && ms <= latest ? ms : null;
}

/** The date of a failure: `Y-m-d H:i:s`, UTC where Streamer wrote it. */
export function dateOf(text) {
  const ms = Date.parse(`${String(text).replace(' ', 'T')}Z`);
  return Number.isNaN(ms) ? text || '?' : ago(ms);
}

/** A text of the server as a sentence. */
export function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}
