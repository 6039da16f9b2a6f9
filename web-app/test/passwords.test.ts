import assert from "node:assert/strict";
import { test } from "node:test";
import { consequence, whoSignsIn } from "../src/views/passwords";

test("the panel's line names the roles that sign in", () => {
  const states = (...set: string[]) => (["owner", "talker", "viewer"] as const).map((role) => ({ role, set: set.includes(role) }));
  assert.equal(whoSignsIn(states()), "none is set");
  assert.equal(whoSignsIn(states("owner")), "owner");
  assert.equal(whoSignsIn(states("owner", "viewer")), "owner, viewer");
});

test("what a change does to whoever is signed in is said before it is made", () => {
  assert.match(consequence({ role: "talker", removes: false, isSet: true }), /^Whoever is signed in as talker must sign in again/);
  assert.match(consequence({ role: "viewer", removes: true, isSet: true }), /^Nobody can sign in as viewer then, and whoever is signed in is put out/);
  assert.match(consequence({ role: "owner", removes: false, isSet: true }), /this one goes on/);
  assert.match(consequence({ role: "owner", removes: false, isSet: false }), /^From then on everybody signs in/);
  assert.match(consequence({ role: "owner", removes: true, isSet: true }), /everybody on this computer is the owner/);
});
