// Three questions to begin with: first those that an adapter's trainer measured, then some that a small base answers well.
const SAMPLES = ["What is the capital of France?", "Write two sentences about the sea.", "Give me three tips for a good night’s sleep."], NUM = 3;

export function samplesOf(library, adapter) {
  const manifest = library.find((each) => each.name === adapter || each.full_name === adapter)?.manifest;
  const own = (manifest?.evaluation?.probes ?? []).map((each) => each.prompt).filter((prompt) => prompt.length <= 200);
  return [...own, ...SAMPLES].slice(0, NUM);
}
