// Loaded before the converter, so that the same Gaussians give the same bytes: its archives carry the time of day, and it
// clusters spherical harmonics from random starts.

// The first year that a ZIP archive can name.
const Clock = Date;
const START = new Clock(1980, 0, 1).getTime();

globalThis.Date = class extends Clock {
  constructor(...parts) {
    super(...(parts.length ? parts : [START]));
  }

  static now() {
    return START;
  }
};

// Numerical Recipes' linear congruential generator.
let state = 1;
Math.random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 4294967296;
};
