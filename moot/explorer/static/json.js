// JSON as the node writes it: integers of any size. A number in JavaScript is exact only up to
// 2^53, and amounts may pass that, so longer integers are read as strings of digits.

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const LONG_INTEGER = /^-?\d{16,}$/;

/** The value of a JSON text; integers of 16 digits or more come as strings, exact. */
export function parseJson(text) {
  return JSON.parse(
    text.replace(STRING_OR_NUMBER, (token) => (LONG_INTEGER.test(token) ? `"${token}"` : token)),
  );
}
