// Values as people read them. All arithmetic on amounts is in BigInt: no digit is lost.

export const COIN = 100_000_000n;
const COIN_DIGITS = 8;

/** An amount of base units (number, string of digits, or BigInt) in coins, all digits kept. */
export function coins(units) {
  const value = BigInt(units);
  const size = value < 0n ? -value : value;
  const whole = grouped((size / COIN).toString());
  const rest = (size % COIN).toString().padStart(COIN_DIGITS, "0").replace(/0+$/, "");
  return `${value < 0n ? "−" : ""}${whole}${rest ? "." + rest : ""}`;
}

/** Digits in groups of three. */
export function grouped(digits) {
  return String(digits).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A whole number with its digits grouped; anything else as it is. */
export function whole(value) {
  return /^-?\d+$/.test(String(value)) ? grouped(value) : String(value);
}

/** A decimal with so many significant digits as one reads at a glance. */
export function decimal(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0 || value >= 100) return whole(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function bytes(count) {
  const value = Number(count);
  if (value < 1000) return `${value} B`;
  if (value < 1_000_000) return `${decimal(value / 1000)} kB`;
  if (value < 1_000_000_000) return `${decimal(value / 1_000_000)} MB`;
  return `${decimal(value / 1_000_000_000)} GB`;
}

/** A span of milliseconds in the largest unit that is at least one. */
export function span(ms) {
  const seconds = ms / 1000;
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (seconds < 100) return `${decimal(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** How long ago, in words that change at most once a second. */
export function ago(ms, nowMs) {
  const seconds = Math.floor((nowMs - ms) / 1000);
  if (seconds < -2) return `in ${span(-seconds * 1000)}`;
  if (seconds < 1) return "now";
  if (seconds < 100) return `${seconds} s ago`;
  return `${span(seconds * 1000)} ago`;
}

/** A moment, in the reader's own time zone. */
export function moment(ms) {
  return new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** An id or address shortened in the middle. */
export function shortened(id, head = 8, tail = 6) {
  return id.length <= head + tail + 1 ? id : `${id.slice(0, head)}…${id.slice(-tail)}`;
}

/** An address shortened: its network's prefix stays, and its end. */
export function shortAddress(address) {
  const mark = address.lastIndexOf("1");
  return mark < 1 || address.length < mark + 20
    ? address
    : `${address.slice(0, mark + 1)}…${address.slice(-6)}`;
}

/** Bytes from hex; null where it is none. */
export function fromHex(hex) {
  if (hex.length % 2 || !/^[0-9a-f]*$/i.test(hex)) return null;
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** The UTF-8 text that hex stands for; null where it is none or has control characters. */
export function textFromHex(hex) {
  const raw = fromHex(hex);
  if (raw === null) return null;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(raw);
    return /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(text)
      ? null
      : text;
  } catch {
    return null;
  }
}

/** A word of the API ("fault_model", "pre-prepare") as a label. */
export function label(word) {
  const text = word.replace(/_/g, " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
