/** The page's elements: found by their ids, and made. */

/** Return the element with this id. */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) {
    throw new Error(`The page has no element #${id}`);
  }
  return element;
}

/** Return a new element with these properties and children, which may be texts. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Show a text, or hide its element where there is none. */
export function showText(element, text) {
  element.textContent = text;
  element.hidden = !text;
}
