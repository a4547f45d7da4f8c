// Elements, made and brought up to date. Text only ever becomes text nodes: nothing here parses markup.

const SVG = 'http://www.w3.org/2000/svg';
const PROPERTIES = new Set(['checked', 'value', 'disabled', 'hidden', 'open', 'indeterminate', 'max', 'selected']);

/** An element: properties, attributes, `on…` functions; children are nodes, texts, or lists of them. */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An element of SVG. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false && !PROPERTIES.has(name)) continue;
    if (name.startsWith('on')) {
      listen(node, name.slice(2), value);
    } else if (name === 'key') {
      node.dataset.key = value;
    } else if (PROPERTIES.has(name)) {
      (node.given ??= {})[name] = value;
      node[name] = value;
    } else {
      node.setAttribute(name, value === true ? '' : value);
    }
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children) {
    if (child === undefined || child === null || child === false || child === '') continue;
    if (Array.isArray(child)) add(node, child);
    else node.append(child instanceof Node ? child : String(child));
  }
}

// One listener a kind, whose function can be replaced when the element is brought up to date.
function listen(node, kind, does) {
  node.does ??= {};
  if (!node.does[kind]) node.addEventListener(kind, (event) => node.does[kind]?.(event));
  node.does[kind] = does;
}

/** Brings the children of `node` up to date with `children`, and keeps focus, selection and scroll where it can. */
export function update(node, ...children) {
  const wanted = document.createDocumentFragment();
  add(wanted, children);
  morphChildren(node, wanted);
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName &&
    (one.nodeType !== 1 || one.dataset?.key === other.dataset?.key);
}

function morphChildren(node, wanted) {
  let at = node.firstChild;
  for (const next of [...wanted.childNodes]) {
    let same = at;
    const key = next.dataset?.key;
    while (same && !alike(same, next)) same = key === undefined ? null : same.nextSibling;
    if (!same) {
      node.insertBefore(next, at);
      continue;
    }
    // Those in between are gone, or come later and are made again.
    while (at !== same) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    at = at.nextSibling;
    morph(same, next);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function morph(node, wanted) {
  if (node.nodeType !== 1) {
    if (node.nodeValue !== wanted.nodeValue) node.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name } of [...node.attributes]) {
    // Whether a part is open is the user's affair.
    if (!wanted.hasAttribute(name) && !PROPERTIES.has(name)) node.removeAttribute(name);
  }
  for (const { name, value } of [...wanted.attributes]) {
    if (!PROPERTIES.has(name) && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const [name, value] of Object.entries(wanted.given ?? {})) {
    // What somebody types stays.
    if (name === 'open' || name === 'value' && node === document.activeElement) continue;
    if (node[name] !== value) node[name] = value;
  }
  for (const [kind, does] of Object.entries(wanted.does ?? {})) listen(node, kind, does);
  for (const kind of Object.keys(node.does ?? {})) if (!wanted.does?.[kind]) delete node.does[kind];
  morphChildren(node, wanted);
}

/** Says something to screen readers. */
export function say(text) {
  document.getElementById('said').textContent = text;
}

/** A table that becomes cards on a phone. Columns: {label, number, grow}. Rows: {key, cells, class}. */
export function table(label, columns, rows) {
  const head = columns.map((column) =>
    h('th', { scope: 'col', role: 'columnheader', class: column.number ? 'number' : undefined },
      column.unseen ? h('span', { class: 'unseen' }, column.label) : column.label));
  const body = rows.map((row) => h('tr', { role: 'row', key: row.key, class: row.class },
    row.cells.map((cell, at) => h('td', {
      role: 'cell',
      'data-label': columns[at].unseen ? undefined : columns[at].label,
      class: [columns[at].number && 'number', columns[at].grow && 'grow'].filter(Boolean).join(' ') || undefined,
    }, h('div', { class: 'cell' }, cell)))));
  return h('div', { class: 'scroll', role: 'region', 'aria-label': label, tabindex: '0' },
    h('table', { role: 'table' },
      h('caption', { class: 'unseen' }, label),
      h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head)),
      h('tbody', { role: 'rowgroup' }, body)));
}

/** A number with a name. */
export function tile(name, value, note, tone) {
  return h('div', { class: 'tile', key: name },
    h('dt', null, name),
    h('dd', { class: tone }, value),
    note ? h('dd', { class: 'note' }, note) : null);
}

export function tiles(...all) {
  return h('dl', { class: 'tiles' }, all);
}

/** What to show where there is nothing, with the command that changes that. */
export function empty(title, text, command) {
  return h('div', { class: 'empty' }, h('p', { class: 'title' }, title), h('p', null, text), command ? code(command) : null);
}

/** A command, and a button that copies it. */
export function code(command) {
  return h('div', { class: 'command' },
    h('code', { tabindex: '0' }, command),
    h('button', {
      type: 'button', class: 'small', 'aria-label': `Copy: ${command}`,
      onclick: async (event) => {
        const button = event.currentTarget;
        try {
          await navigator.clipboard.writeText(command);
          button.textContent = 'Copied';
          say('Copied.');
        } catch {
          button.textContent = 'Select it';
          getSelection().selectAllChildren(button.previousSibling);
        }
      },
    }, 'Copy'));
}

export function badge(text, tone) {
  return h('span', { class: `badge ${tone ?? ''}` }, text);
}

export function notice(tone, ...children) {
  return h('div', { class: `notice ${tone}`, role: tone === 'critical' ? 'alert' : undefined }, children);
}

export function field(label, input, hint) {
  return h('label', { class: 'field' }, h('span', null, label), input, hint ? h('small', null, hint) : null);
}
