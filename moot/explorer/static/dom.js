// Making and updating elements. Text enters a page through text nodes only; nothing here, or
// elsewhere in these modules, parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes: null and false are left out, true is empty; children: nodes or text. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    // Styles go through the object model, which the content security policy lets pass.
    if (name === "style")
      for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...flat(children));
  return element;
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * Makes `parent` show `wanted`, keeping every element that can stay: what a reader has focused or
 * selected survives. Children with a `data-key` are matched by it and may move; a keyed list item
 * that appears among keyed ones that were there already gets the class "fresh".
 */
export function update(parent, ...wanted) {
  const holder = document.createDocumentFragment();
  holder.append(...flat(wanted));
  morphChildren(parent, holder);
}

const keyOf = (node) =>
  node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;

function morphChildren(old, wanted) {
  const keyed = new Map();
  for (const child of old.children) if (keyOf(child) !== null) keyed.set(keyOf(child), child);
  const hadKeys = keyed.size > 0;
  const wantedKeys = new Set([...wanted.children].map(keyOf));
  let place = old.firstChild;
  for (const next of [...wanted.childNodes]) {
    const key = keyOf(next);
    while (place !== null && keyOf(place) !== null && !wantedKeys.has(keyOf(place))) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
    let match = key === null ? null : (keyed.get(key) ?? null);
    if (key === null && place !== null && keyOf(place) === null && alike(place, next))
      match = place;
    if (match === null) {
      if (hadKeys && next.nodeName === "LI" && key !== null) next.classList.add("fresh");
      old.insertBefore(next, place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else old.insertBefore(match, place);
    morph(match, next);
  }
  while (place !== null) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

function alike(old, next) {
  return old.nodeType === next.nodeType && old.nodeName === next.nodeName;
}

function morph(old, next) {
  if (!alike(old, next)) {
    old.replaceWith(next);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  if (old.hasAttribute("data-keep")) return; // it looks after itself: a form, a log
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (name === "class" && old.classList.contains("fresh")) {
      if (old.className !== `${value} fresh`.trim()) old.className = `${value} fresh`.trim();
    } else if (old.getAttribute(name) !== value) {
      // A style attribute in text would be inline style; the object model is not.
      if (name === "style") old.style.cssText = next.style.cssText;
      else old.setAttribute(name, value);
    }
  }
  morphChildren(old, next);
}
