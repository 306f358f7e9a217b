// Calls with the types of openapi-typescript and the client openapi-fetch:
// PROGRAM URL TOKEN ENTITLED SERIAL NOT_ENTITLED
//
// ENTITLED and NOT_ENTITLED are ids of customers, SERIAL is of a licence of the former. Throws unless every answer is as expected.

import createClient from "openapi-fetch";
import type { components, paths } from "./assistenza.js";

type Schemas = components["schemas"];

declare const process: { argv: string[] };

const [url, token, entitled, serial, notEntitled] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

function check(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(message);
}

const answer = await client.GET("/v1/entitlements", { params: { query: { customer_id: entitled } } });
check(answer.data !== undefined, "no entitlements");
const services: Schemas["ServiceBody"][] = answer.data.services;
check(services.length === 8, "not all services");
const email = services.find((one) => one.service === "email_support");
check(email?.allowed === true, "no support by e-mail");

const service: Schemas["Service"] = "email_support";
const one = await client.GET("/v1/entitlements/check", {
  params: { query: { customer_id: entitled, service } },
});
check(one.data?.allowed === true && one.data.say.length > 0, "not allowed");

const body: Schemas["NewCase"] = {
  customer_id: entitled,
  requester: { name: "Engineering", email: "engineering@example.com" },
  subject: "Opened by a generated client",
  description: "To see whether it works.",
  serial_number: serial,
};
const header = { "Idempotency-Key": "typescript-1" };
const first = await client.POST("/v1/cases", { body, params: { header } });
const again = await client.POST("/v1/cases", { body, params: { header } });
check(first.response.status === 201 && again.response.status === 201, "not opened");
check(first.data !== undefined && first.data.id === again.data?.id, "opened twice");
check(again.response.headers.get("Idempotent-Replayed") === "true", "not replayed");

const refused = await client.POST("/v1/cases", {
  body: { ...body, customer_id: notEntitled, serial_number: null },
});
check(refused.error?.code === "not_entitled", "not refused");
const reasons: Schemas["ReasonCode"][] = refused.error.reasons.map((reason) => reason.code);
check(reasons.includes("no_editor_licence"), reasons.join());
const steps: Schemas["Step"][] = refused.error.unlocked_by;
check(steps.length > 0, "nothing would help");

const found: Schemas["Customer"][] = [];
let cursor: string | undefined;
do {
  const page = await client.GET("/v1/customers", {
    params: { query: cursor === undefined ? { limit: 2 } : { limit: 2, cursor } },
  });
  check(page.data !== undefined, "no page");
  found.push(...page.data.items);
  cursor = page.data.next_cursor ?? undefined;
} while (cursor !== undefined);
check(found.length > 2 && new Set(found.map((one) => one.id)).size === found.length, "pages");

const params = { path: { code: "GEN-TYPESCRIPT" } };
const customer: Schemas["KnownCustomer"] = {
  name: "Generated Client Ltd",
  country: "GB",
  contacts: [{ name: "Engineering", phones: ["+442079460099"] }],
};
const created = await client.PUT("/v1/customers/by-code/{code}", { params, body: customer });
check(created.response.status === 201 && created.data !== undefined, "not created");
const replaced = await client.PUT("/v1/customers/by-code/{code}", {
  params,
  body: { ...customer, name: "Generated Client plc" },
});
check(replaced.response.status === 200 && replaced.data !== undefined, "not replaced");
check(replaced.data.id === created.data.id, "another customer");
check(replaced.data.name === "Generated Client plc", "the old name");

console.log("done");
