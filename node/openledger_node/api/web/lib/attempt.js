// Asking the node for a screen: a refusal stands in its place, and a node that is gone is said by the frame.
import { Refused } from "./api.js";
import { put } from "./dom.js";
import { note } from "./parts.js";

// attempter(place, draw) makes attempt(ask, isLoud): it empties the place, asks, and draws. A quiet one, which the screen
// repeats by itself, leaves the last refusal there.
export const attempter = (place, draw = () => {}) => async (ask, isLoud = true) => {
  try {
    if (isLoud) put(place);
    await ask();
  } catch (failure) {
    if (!(failure instanceof Refused) && !(failure instanceof TypeError)) throw failure;
    if (isLoud && failure instanceof Refused) put(place, note("bad", failure.message));
  }
  draw();
};
