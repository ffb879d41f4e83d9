// A short-link service.
import { randomBytes } from "node:crypto";
import Fastify from "fastify";

const app = Fastify({ logger: { level: "warn" } });
const links = new Map();

app.get("/", async () => ({ service: "short-links", links: links.size }));
app.get("/health", async () => ({ status: "ok" }));

app.post("/links", { schema: { body: { type: "object", required: ["url"], properties: { url: { type: "string" } } } } }, async (request, reply) => {
  if (!URL.canParse(request.body.url)) return reply.code(400).send({ error: "not a URL" });
  const code = randomBytes(4).toString("base64url");
  links.set(code, request.body.url);
  return reply.code(201).send({ code });
});

app.get("/:code", async (request, reply) => {
  const url = links.get(request.params.code);
  return url ? reply.redirect(url) : reply.code(404).send({ error: "no such link" });
});

process.on("SIGTERM", async () => {
  await app.close();
  process.exit(0);
});

const port = Number(process.env.PORT ?? 8080);
await app.listen({ host: "0.0.0.0", port });
console.log(`listening on ${port}`);
