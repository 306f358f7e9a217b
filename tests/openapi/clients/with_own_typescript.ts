// Calls by the client of openapi/typescript/, through something that fails twice for each request:
// PROGRAM URL TOKEN ENTITLED SERIAL NOT_ENTITLED
//
// ENTITLED and NOT_ENTITLED are ids of customers, SERIAL is of a licence of the former. Throws unless every answer is as expected.

import { connect, every, expect, Refused, type Schemas } from "assistenza-client";

declare const process: { argv: string[] };

const [url, token, entitled, serial, notEntitled] = process.argv.slice(2) as [string, string, string, string, string];
const retries = { first: 10 };
const client = connect({ baseUrl: url, token, language: "en", retries, timeout: 20_000 });

function check(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(message);
}

const began = performance.now();
const customer = expect(await client.GET("/v1/customers/{customer}", { params: { path: { customer: entitled } } }));
check(customer.id === entitled, "another customer");
check(performance.now() - began >= 1_000, "Retry-After was not obeyed");

const body: Schemas["NewCase"] = {
  customer_id: entitled,
  requester: { name: "Engineering", email: "engineering@example.com" },
  subject: "Opened by the TypeScript client",
  description: "To see whether it is opened once.",
  serial_number: serial,
};
const answer = await client.POST("/v1/cases", { body });
const opened = expect(answer);
check(answer.response.headers.get("Idempotent-Replayed") === "true", "the first attempt was not acknowledged");
const mine: Schemas["Case"][] = [];
const cases = every((cursor) =>
  client.GET("/v1/cases", { params: { query: { customer_id: entitled, limit: 1, ...(cursor && { cursor }) } } }),
);
for await (const one of cases) if (one.subject === body.subject) mine.push(one);
check(mine.length === 1 && mine[0]?.id === opened.id, "opened more than once");

let refused: unknown;
try {
  expect(await client.POST("/v1/cases", { body: { ...body, customer_id: notEntitled, serial_number: null } }));
} catch (error) {
  refused = error;
}
check(refused instanceof Refused && refused.is("not_entitled"), "not refused");
check(refused.status === 409 && refused.message.startsWith("409 not_entitled: "), refused.message);
const reasons: Schemas["ReasonCode"][] = refused.problem.reasons.map((reason) => reason.code);
check(reasons.includes("no_editor_licence"), reasons.join());

const found: string[] = [];
const customers = every((cursor) => client.GET("/v1/customers", { params: { query: { limit: 2, ...(cursor && { cursor }) } } }));
for await (const one of customers) found.push(one.id);
check(found.length > 2 && new Set(found).size === found.length, "pages");

// What a service that runs well does not show.
function answered(...answers: (() => Response)[]): [ReturnType<typeof connect>, Request[]] {
  const sent: Request[] = [];
  const send = async (request: Request): Promise<Response> => {
    sent.push(request);
    return answers[sent.length - 1]!();
  };
  return [connect({ baseUrl: "http://test", token: "t", retries: { attempts: 3, first: 10 }, fetch: send }), sent];
}
const broken = (): Response => {
  throw new TypeError("broken");
};
const status = (number: number, headers: Record<string, string> = {}) => (): Response =>
  new Response("{}", { status: number, headers: { "Content-Type": "application/json", ...headers } });
const keys = (sent: Request[]): (string | null)[] => sent.map((request) => request.headers.get("Idempotency-Key"));
const position = (at: string): Record<string, string> => ({ "X-Assistenza-Position": at });

{
  const [calls, sent] = answered(broken, status(409, { "Retry-After": "0" }), status(201));
  check((await calls.POST("/v1/cases", { body })).response.status === 201, "not repeated");
  check(new Set(keys(sent)).size === 1 && keys(sent)[0] !== null, "another key");
  check((await sent[2]!.json()).subject === body.subject, "the body is gone");
}
{
  const [calls, sent] = answered(status(409));
  const params = { header: { "Idempotency-Key": "own" } };
  check((await calls.POST("/v1/cases", { body, params })).response.status === 409, "repeated");
  check(keys(sent).join() === "own", "another key than given");
}
{
  const [calls, sent] = answered(status(503, { "Retry-After": "3600" }));
  check((await calls.GET("/v1/cases")).response.status === 503 && sent.length === 1, "waits an hour");
}
{
  const [calls, sent] = answered(broken);
  const redemption = calls.POST("/v1/sign-in-links/redemption", { body: { code: "c" } });
  check(await redemption.then(() => false, () => true), "the error is hidden");
  check(sent.length === 1 && keys(sent)[0] === null, "the link was used twice");
}
{
  const [calls, sent] = answered(status(201, position("16/B374D848")), status(201, position("16/A0000000")), status(200));
  await calls.POST("/v1/cases", { body });
  await calls.POST("/v1/cases", { body });
  await calls.GET("/v1/cases");
  check(sent[2]!.headers.get("X-Assistenza-Position") === "16/B374D848", "not the later position");
}
console.log("done");
