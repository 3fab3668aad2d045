// Looks at the status page of a running server: node page.mjs ADDRESS TOKEN FOLDER_FOR_SCREENSHOTS
// The memory of the token must hold a unit about a heron, and one with markup that would set document.title to "owned".
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [address, token, folder] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const complaints = [];

async function open(options) {
  const page = await (await browser.newContext(options)).newPage();
  page.on('console', message => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', error => complaints.push(String(error)));
  page.on('request', request => request.url().startsWith(address) || complaints.push(`asked ${request.url()}`));
  return page;
}

const signIn = async (page, secret) => {
  await page.getByLabel('Token', { exact: true }).fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
};

try {
  // Signing in: nothing is shown before, a wrong token is refused.
  const page = await open({ viewport: { width: 1180, height: 1500 }, colorScheme: 'light' });
  await page.goto(address);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await page.locator('#content').isVisible(), false);
  await signIn(page, 'wrong-0123456789abcdef0123456789');
  await page.getByText('does not know this token').waitFor();
  assert.ok(complaints.every(text => text.includes('401')), complaints.join('\n')); // the browser notes refused requests
  complaints.length = 0;
  await signIn(page, token);
  await page.getByText(/^up /).waitFor();
  assert.ok(await page.locator('#models li').count() > 0);

  // Generating, streamed; then stopped.
  await page.getByLabel('Tokens at most').fill('40');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByText(/\d+ tokens, .* per second, ended by/).waitFor();
  assert.ok((await page.locator('#output').textContent()).length > 5);
  await page.getByLabel('Tokens at most').fill('1000000');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByText('writing', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByText('stopped', { exact: true }).waitFor();
  await page.waitForFunction(() => document.getElementById('pending').textContent === '0');
  await page.getByLabel('Tokens at most').fill('60');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByText(/\d+ tokens, .* per second, ended by/).waitFor();

  // Stored markup is text.
  await page.getByLabel('Search this memory').fill('<img src=x onerror="document.title=1"> customer form');
  await page.getByRole('button', { name: 'Search', exact: true }).click();
  await page.locator('#units .text', { hasText: '<script>' }).first().waitFor();
  assert.equal(await page.locator('#units script, #units img, #map script').count(), 0);
  assert.equal(await page.title(), 'RyzenLlm');

  // The chart, and a unit to look at.
  assert.ok(await page.locator('#map circle').count() > 1);
  await page.getByLabel('Search this memory').fill('heron');
  await page.getByRole('button', { name: 'Search', exact: true }).click();
  await page.getByText('best first').waitFor();
  await page.screenshot({ path: `${folder}/status-page.png` });
  await page.locator('#units button', { hasText: 'heron' }).first().click();
  await page.getByRole('dialog').getByText('Density').waitFor();
  const id = await page.locator('#unit-facts dd').first().textContent();
  await page.screenshot({ path: `${folder}/status-page-unit.png` });

  // Forgetting takes two clicks, and the unit is gone.
  await page.getByRole('button', { name: 'Forget', exact: true }).click();
  await page.getByRole('button', { name: 'Forget for good' }).click();
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  const gone = await page.evaluate(async unit => (await fetch(`api/memory/${unit}`, { headers: { Authorization: `Bearer ${sessionStorage.token}` } })).status, id);
  assert.equal(gone, 404);
  complaints.splice(0, complaints.length, ...complaints.filter(text => !text.includes('404')));

  // Signing out forgets the token.
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.reload();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  complaints.splice(0, complaints.length, ...complaints.filter(text => !text.includes('401')));

  // By a link, on a phone, in the dark: the token leaves the address, nothing is wider than the screen, every control has a name.
  const phone = await open({ viewport: { width: 375, height: 812 }, colorScheme: 'dark' });
  await phone.goto(`${address}/#token=${token}`);
  await phone.getByText(/^up /).waitFor();
  assert.ok(!phone.url().includes(token));
  await phone.locator('#map circle').first().waitFor();
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'wider than the screen');
  const nameless = await phone.evaluate(() => [...document.querySelectorAll('button, input, select, textarea')]
    .filter(control => !(control.textContent.trim() || control.labels?.length || control.ariaLabel)).map(control => control.outerHTML));
  assert.deepEqual(nameless, []);
  await phone.screenshot({ path: `${folder}/status-page-phone.png` });
  await phone.locator('#memory-card').scrollIntoViewIfNeeded();
  await phone.locator('#memory-title').evaluate(title => title.scrollIntoView());
  await phone.screenshot({ path: `${folder}/status-page-phone-memory.png` });
  assert.deepEqual(complaints, []);
  console.log('the page is as it should be');
} catch (failure) {
  for (const page of browser.contexts().flatMap(context => context.pages())) {
    console.error(`at ${page.url().split('#')[0]}: ${await page.locator('body').innerText()}`);
  }
  console.error(complaints.join('\n'));
  throw failure;
} finally {
  await browser.close();
}
