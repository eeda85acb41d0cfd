// What official.py asks, by npm's client: prints which requests are completed as they should be.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0, timeout: 60_000 });
const written = 40, found = {};
const all = async (stream, part) => {
  const parts = [];
  for await (const event of await stream) parts.push(part(event));
  return parts.join("");
};

const models = await client.models.list();
found["models"] = models.data.length === 1 && models.data[0].id === "gpt";

let asked = { model: "gpt", prompt: "The sea", max_tokens: written, seed: 1 };
const whole = await client.completions.create({ ...asked, n: 2, logprobs: 2 });
const text = whole.choices[0].text;
found["completion"] = whole.choices.length === 2 && whole.usage.completion_tokens === 2 * written;
found["completion, logprobs"] = whole.choices[0].logprobs.tokens.length === written;
found["completion, streamed"] =
  (await all(client.completions.create({ ...asked, stream: true }), (event) => event.choices[0].text)) === text;
let stop = text.slice(3, 5);
let cut = await client.completions.create({ ...asked, stop: [stop] });
found["completion, stop"] = cut.choices[0].text === text.split(stop)[0] && cut.choices[0].finish_reason === "stop";
found["completion, stop, streamed"] =
  (await all(client.completions.create({ ...asked, stop: [stop], stream: true }), (event) => event.choices[0].text)) ===
  cut.choices[0].text;

asked = { model: "gpt", messages: [{ role: "user", content: "What is the sea?" }], max_completion_tokens: written, seed: 1 };
asked = { ...asked, logprobs: true, top_logprobs: 2 };
const said = (await client.chat.completions.create(asked)).choices[0];
found["chat"] = said.message.role === "assistant" && said.message.content.length > 0;
found["chat, logprobs"] = said.logprobs.content.every((token) => token.top_logprobs.length === 2);
found["chat, streamed"] =
  (await all(client.chat.completions.create({ ...asked, stream: true }), (event) => event.choices[0].delta.content ?? "")) ===
  said.message.content;
stop = said.message.content.slice(1, 3);
cut = await client.chat.completions.create({ ...asked, stop });
found["chat, stop"] = cut.choices[0].message.content === said.message.content.split(stop)[0];

for (const [name, status, others] of [["no such model", 404, { model: "other" }], ["too long", 400, { max_tokens: 1 << 20 }]]) {
  const error = await client.completions.create({ model: "gpt", prompt: "The sea", ...others }).then(() => null, (error) => error);
  found[name] = error?.status === status;
}
console.log(JSON.stringify(found));
