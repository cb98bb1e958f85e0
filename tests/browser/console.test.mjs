// The console in a real Chromium, with and without JavaScript: what an analyst does, and what nobody may.
//
// Needs ADMIN_URL, TOKENS (the folder of the demo's tokens), TUNNELWARDEN, PUBLIC_KEY, PICTURES (a folder).

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { ADMIN_URL: base, TOKENS: tokens, TUNNELWARDEN: program, PUBLIC_KEY: key, PICTURES: pictures } = process.env;
const token = (role) => readFileSync(join(tokens, `${role}.token`), "utf8").trim();

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
});
after(() => browser.close());

// A page on which nothing may go wrong: no error, no violation of the content security policy, no other host.
async function opened(options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) wrong.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong.push(`${page.url()}: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(base)) wrong.push(`asked ${request.url()}`);
  });
  return { context, page, wrong };
}

async function signIn(page, role, from = "/console") {
  await page.goto(base + from);
  assert.match(page.url(), /\/console\/sign-in/);
  await page.fill("#token", token(role));
  await page.click("form.sign-in button");
}

for (const javaScriptEnabled of [true, false]) {
  const how = javaScriptEnabled ? "with" : "without";

  test(`an analyst finds who changed an endpoint, and from what, ${how} JavaScript`, async () => {
    const { context, page, wrong } = await opened({ javaScriptEnabled });
    // Where one wanted to go is where one gets after signing in.
    await signIn(page, "security", "/console/search?what=changes&field=%2Fcustomer_endpoint");
    await page.waitForURL(/what=changes/);
    const row = page.locator("#rows tr").first();
    const cells = await row.locator("td").allTextContents();
    assert.equal(cells[1], "operator@demo");
    assert.deepEqual(cells.slice(5), ['"198.51.100.7"', '"198.51.100.77"']);

    // One call: its story and its diff.
    await row.locator("td").first().locator("a").click();
    await page.waitForURL(/\/console\/calls\//);
    assert.match(await page.locator("dl.story").textContent(), /operator@demo.*allowed by operators-change/s);
    const diff = page.locator("table.diff tr", { hasText: "customer_endpoint" });
    assert.equal(await diff.locator(".before").textContent(), '"198.51.100.7"');
    assert.equal(await diff.locator(".after").textContent(), '"198.51.100.77"');

    // Its proof, which verifies offline.
    const [download] = await Promise.all([page.waitForEvent("download"), page.locator("a[download]").last().click()]);
    assert.match(download.suggestedFilename(), /^[0-9a-f-]{36}\.tlog-proof$/);
    const file = await download.path();
    const told = execFileSync(program, ["audit", "verify", file, "--public-key", key], { encoding: "utf8" });
    assert.match(told, /^good: entry/);

    // The tunnel: three clicks from the first page.
    await page.goto(`${base}/console`);
    await page.click("header nav >> text=Tunnels");
    await page.waitForURL(/\/console\/tunnels$/);
    await page.goto(`${base}/console/search`);
    await page.fill("input[name=tunnel]", "branch-7");
    await page.selectOption("select[name=what]", "changes");
    await page.click("form.search button");
    await page.locator("#rows tr a", { hasText: "branch-7" }).first().click();
    await page.waitForURL(/\/console\/tunnels\/[0-9a-f]{32}/);
    const moment = page.locator("ol.timeline li", { hasText: "198.51.100.77" }).filter({ hasText: "update" });
    assert.match(await moment.first().textContent(), /operator@demo.*update.*customer_endpoint.*198\.51\.100\.7".*198\.51\.100\.77"/s);

    // The whole record.
    await page.goto(`${base}/console/verify`);
    await page.click("main button");
    for (let tries = 0; ; tries++) {
      await page.goto(`${base}/console/verify`);
      const state = await page.locator("#state").textContent();
      if (state.startsWith("Good: ")) break;
      assert.ok(tries < 100, state);
      await new Promise((done) => setTimeout(done, 100));
    }

    // Out again.
    await page.click("header button");
    await page.waitForURL(/sign-in/);
    await page.goto(`${base}/console`);
    assert.match(page.url(), /sign-in/);
    assert.deepEqual(wrong, []);
    await context.close();
  });

  test(`nobody gets in without the right, ${how} JavaScript`, async () => {
    for (const role of ["viewer", "operator", "admin"]) {
      const { context, page } = await opened({ javaScriptEnabled });
      await signIn(page, role);
      assert.match(await page.locator("[role=alert]").textContent(), /ask for the role `security`/);
      assert.deepEqual(await context.cookies(), []);
      // Also not by a cookie of one's own.
      await context.addCookies([{ name: "tunnelwarden-token", value: token(role), url: `${base}/console` }]);
      const answer = await page.goto(`${base}/console/search`);
      assert.equal(answer.status(), 403);
      assert.equal(await page.locator("#rows").count(), 0);
      await context.close();
    }
  });
}

test("the cookie is out of scripts' reach and of other sites'", async () => {
  const { context, page } = await opened({});
  await signIn(page, "security");
  await page.waitForURL(/console$/);
  const [cookie] = await context.cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/console"]);
  assert.equal(await page.evaluate(() => document.cookie), "");
  // A page of another site (another name for this host) sends a form; its browser adds no cookie, and we take none.
  const other = base.replace("127.0.0.1", "localhost");
  await page.goto(`${other}/livez`);
  const answered = page.waitForResponse((response) => response.url() === `${base}/console/verify`);
  await page.evaluate((to) => {
    const form = document.createElement("form");
    [form.method, form.action] = ["post", to];
    document.body.append(form);
    form.submit();
  }, `${base}/console/verify`);
  const answer = await answered;
  assert.equal(answer.request().headers()["cookie"], undefined);
  assert.equal(answer.status(), 303, "to the sign-in page: it knows nobody");
  assert.match(await answer.headerValue("location"), /sign-in/);
  await page.waitForURL(/sign-in/);
  // And nobody frames the console.
  await page.goto(`${other}/livez`);
  const framed = await page.evaluate(async (to) => {
    const frame = document.createElement("iframe");
    frame.src = to;
    document.body.append(frame);
    await new Promise((done) => { frame.onload = done; });
    try { return frame.contentDocument === null ? "refused or foreign" : "ours"; } catch { return "foreign"; }
  }, `${base}/console`);
  assert.equal(framed, "refused or foreign");
  await context.close();
});

test("new entries come in by themselves, and keys go through the rows", async () => {
  const { context, page, wrong } = await opened({});
  await signIn(page, "security", "/console/search?what=entries");
  await page.waitForURL(/what=entries/);
  const count = await page.locator("#rows tr").count();
  await page.locator("#live input").check();
  // Somebody reads, which is an entry.
  await fetch(`${base}/api/v1/statistics`, { headers: { authorization: `Bearer ${token("security")}` } });
  await page.locator("#rows tr.fresh").first().waitFor({ timeout: 15000 });
  assert.ok((await page.locator("#rows tr").count()) > count);
  await page.locator("#live input").uncheck();
  await page.locator("h1").click();
  await page.keyboard.press("j");
  const focused = () => page.evaluate(() => document.activeElement.closest("tr")?.rowIndex);
  assert.equal(await focused(), 1);
  await page.keyboard.press("j");
  assert.equal(await focused(), 2);
  await page.keyboard.press("k");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/console\/calls\//);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("every page is whole in light and dark, narrow and large", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const { context, page, wrong } = await opened({ colorScheme });
    await page.goto(`${base}/console`);
    await page.screenshot({ path: join(pictures, `sign-in-${colorScheme}.png`) });
    await signIn(page, "security");
    await page.waitForURL(/console$/);
    const pages = { overview: "", search: "/search", changes: "/search?what=changes", tunnels: "/tunnels", people: "/people", verify: "/verify" };
    await page.goto(`${base}/console/search?what=changes`);
    pages.call = (await page.locator("#rows tr td:first-child a").first().getAttribute("href")).replace("/console", "");
    pages.tunnel = (await page.locator("#rows a[href*=tunnels]").first().getAttribute("href")).replace("/console", "");
    for (const [name, path] of Object.entries(pages)) {
      await page.setViewportSize({ width: 1280, height: 900 });
      await page.goto(`${base}/console${path}`);
      // Every control has a name that a screen reader can say, and every table its headings.
      const nameless = await page.evaluate(() => [...document.querySelectorAll("input:not([type=hidden]), select, button, a")]
        .filter((one) => !(one.labels?.length || one.textContent.trim() || one.getAttribute("aria-label")))
        .map((one) => one.outerHTML));
      assert.deepEqual(nameless, [], name);
      await page.screenshot({ path: join(pictures, `${name}-${colorScheme}.png`), fullPage: true });
      // 200 % of a window of 1280 is one of 640.
      await page.setViewportSize({ width: 640, height: 900 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `${name} is ${wide} wider than its window`);
      if (colorScheme === "light") await page.screenshot({ path: join(pictures, `${name}-narrow.png`), fullPage: true });
    }
    assert.deepEqual(wrong, []);
    await context.close();
  }
});
