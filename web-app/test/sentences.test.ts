import assert from "node:assert/strict";
import { test } from "node:test";
import { declined, fault, plain } from "../src/sentences";

test("what a terminal marks is quoted", () => {
  assert.equal(plain("look at `duplex devices` first"), "Look at “duplex devices” first.");
});

test("what the headline says is not said twice", () => {
  assert.equal(plain("Nothing is recorded: recording stopped: the disk is full (/var)."), "The disk is full (/var).");
  assert.equal(plain("recording did not begin: the disk is full (/var)."), "The disk is full (/var).");
});

test("a parser's place in a text is nothing for people", () => {
  assert.equal(
    plain('The body is not what this call takes: "foo" must be test, file:PATH or camera:NAME at line 1 column 15.'),
    "“foo” cannot be used: it must be test, file:PATH or camera:NAME.",
  );
  assert.equal(plain("TOML parse error at line 1, column 19\n  |\n1 | a = b\n  |     ^\ninvalid string"), "Invalid string.");
});

test("unknown words stay, as a sentence", () => {
  assert.equal(plain("cannot do it: it is no video"), "Cannot do it: it is no video.");
  assert.equal(declined("this peer has too many sessions (4); end one first.").detail, "This peer has too many sessions (4); end one first. Trying again.");
});

test("a file is called by its name alone", () => {
  assert.equal(plain("cannot show or play file:/srv/my clips/a.mp4: it is no video"), "Cannot show or play a.mp4: it is no video.");
  assert.equal(plain("cannot show or play image:/a.png: it is no picture"), "Cannot show or play a.png: it is no picture.");
});

test("the fault names the person who talks", () => {
  assert.equal(fault("the talker is not heard: it was unplugged", true), "You are not heard: it was unplugged.");
  assert.equal(fault("the talker is not heard: it was unplugged", false), "The talker is not heard: it was unplugged.");
  assert.equal(fault("the camera was unplugged", true), "The camera was unplugged.");
  assert.equal(fault("file:clip.mp4: it is gone", true), "file:clip.mp4: it is gone.");
  assert.equal(fault("no camera is there", true), "No camera is there.");
});
