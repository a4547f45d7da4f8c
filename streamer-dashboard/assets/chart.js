// A line of the last hour, a point each 30 seconds.

import { svg } from './dom.js';

const WIDTH = 96;
const HEIGHT = 24;

/** `values` are numbers or null where that is unknown; `what` says what they are. */
export function spark(values, what) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const size = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, class: 'spark' };
  if (known.length < 2) return svg('svg', { ...size, 'aria-hidden': 'true' });
  const most = Math.max(...known);
  const step = WIDTH / Math.max(values.length - 1, 1);
  let path = '';
  let drawing = false;
  values.forEach((value, at) => {
    if (value === null || value === undefined) {
      drawing = false;
      return;
    }
    const x = (at * step).toFixed(1);
    const y = (HEIGHT - 2 - (most ? value / most : 0) * (HEIGHT - 4)).toFixed(1);
    path += `${drawing ? 'L' : 'M'}${x} ${y}`;
    drawing = true;
  });
  // A point each 30 seconds, so many of them as an hour has.
  const span = values.length >= 120 ? 'hour' : `${Math.max(1, Math.round((values.length - 1) / 2))} min`;
  const label = `${what}: the last ${span}, at most ${Math.round(most * 10) / 10}, now ${known.at(-1)}`;
  return svg('svg', { ...size, role: 'img', 'aria-label': label },
    svg('title', null, label),
    svg('path', { d: path, fill: 'none', stroke: 'currentColor', 'stroke-width': '1.5', 'stroke-linejoin': 'round', 'vector-effect': 'non-scaling-stroke' }));
}
