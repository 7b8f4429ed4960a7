// Three questions to begin with: of an adapter those that its trainer measured, else some that a small base answers well.
const SAMPLES = ["What is the capital of France?", "Write two sentences about the sea.", "Give me three tips for a good night’s sleep."], NUM = 3;

export function samplesOf(library, adapter) {
  const manifest = library.find((each) => each.name === adapter || each.full_name === adapter)?.manifest;
  const own = (manifest?.evaluation?.probes ?? []).map((each) => each.prompt).filter((prompt) => prompt.length <= 200);
  return (own.length ? own : SAMPLES).slice(0, NUM);
}
