/** The page at `/`, used as people use it. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { FAST_CAMERA } from '../lib/browser.js';
import { connectedWith, seesEverybody } from '../lib/full-mesh.js';
import { paintCamera } from '../lib/painted-camera.js';
import { outputFile, stage } from '../lib/stage.js';

const FILE_BYTES = 5 * 1024 * 1024;
/** Of a call with two others, once the browser has found out how much the way can carry. */
const NORMAL_KBITS = { min: 700 };
/** With two others: 150 kbit/s of video and 24 of audio each, and what it takes to send them. */
const LOW_KBITS = { max: 500 };

const scene = stage();
const fastScene = stage({ flags: [FAST_CAMERA] });

/** @param {import('../lib/stage.js').Scene} scene */
async function threePeople(scene) {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  const linus = await scene.visit('Linus');
  await Promise.all([ada.sees('Grace', 'Linus'), grace.sees('Ada', 'Linus'), linus.sees('Ada', 'Grace')]);
  return { ada, grace, linus };
}

scene('three people see each other move and chat', async (scene) => {
  const { ada, grace, linus } = await threePeople(scene);

  await ada.writes('Shall we begin?');
  await Promise.all([grace.reads('Ada', 'Shall we begin?'), linus.reads('Ada', 'Shall we begin?')]);
  await linus.writes('<b>Yes</b> & no');
  await Promise.all([ada.reads('Linus', '<b>Yes</b> & no'), grace.reads('Linus', '<b>Yes</b> & no')]);
});

scene('a file of 5 MB arrives intact at everybody', async (scene) => {
  const { ada, grace, linus } = await threePeople(scene);
  const bytes = randomBytes(FILE_BYTES);

  await ada.sends('measurements.bin', bytes);

  const sha256 = createHash('sha256').update(bytes).digest('hex');
  assert.deepEqual(await Promise.all([grace.receives('measurements.bin'), linus.receives('measurements.bin')]), [sha256, sha256]);
});

fastScene('the low-bandwidth switch lowers the bitrate that is measured', async (scene) => {
  const { ada, grace, linus } = await threePeople(scene);
  await Promise.all([ada.keeps('stats-up', 'data-kbits', NORMAL_KBITS), ada.keeps('stats-down', 'data-kbits', NORMAL_KBITS)]);

  await ada.page.getByTestId('quality-low').check();

  await Promise.all([ada.keeps('stats-up', 'data-kbits', LOW_KBITS), ada.keeps('stats-down', 'data-kbits', LOW_KBITS)]);
  await Promise.all([ada.sees('Grace', 'Linus'), grace.sees('Ada', 'Linus'), linus.sees('Ada', 'Grace')]);
});

scene('one leaves by the button, one closes the page: the others are told', async (scene) => {
  const { ada, grace, linus } = await threePeople(scene);

  await linus.page.getByTestId('leave').click();
  await Promise.all([ada.sees('Grace'), grace.sees('Ada'), ada.isToldOf('Linus')]);
  await grace.page.close();
  await ada.meets();
});

scene('one reloads and is back in a full mesh', async (scene) => {
  const { ada, grace, linus } = await threePeople(scene);

  await grace.page.reload();

  await Promise.all([ada.sees('Grace', 'Linus'), grace.sees('Ada', 'Linus'), linus.sees('Ada', 'Grace')]);
  await grace.writes('Here I am again');
  await Promise.all([ada.reads('Grace', 'Here I am again'), linus.reads('Grace', 'Here I am again')]);
});

for (const isPageFirst of [true, false]) {
  scene(`chat and files with the page that p2p-go-app comes with, which ${isPageFirst ? 'was there' : 'comes later'}`, async (scene) => {
    const open = { page: () => scene.join('p2p-chat', { name: 'Rear Admiral' }), visit: () => scene.visit('Ada') };
    const page = isPageFirst ? await open.page() : null;
    const ada = await open.visit();
    const other = page ?? (await open.page());
    await Promise.all([connectedWith(other, 1), ada.meets('Rear Admiral')]);

    await ada.writes('Hello, old page');
    await other.until('greeted', () => window.state.messages.some(({ from, content }) => from === 'Ada' && content === 'Hello, old page'));
    await other.page.evaluate(() => window.say('Hello, new page'));
    await ada.reads('Rear Admiral', 'Hello, new page');

    const bytes = randomBytes(FILE_BYTES);
    await ada.sends('new.bin', bytes);
    await other.until('the file', () => window.state.files.some(({ name }) => name === 'new.bin'));
    const [file] = (await other.state()).files;
    assert.deepEqual(file, { from: 'Ada', name: 'new.bin', size: FILE_BYTES, sha256: createHash('sha256').update(bytes).digest('hex') });
    const sent = await other.page.evaluate((size) => window.sendFile('old.bin', size), FILE_BYTES);
    assert.equal(await ada.receives('old.bin'), sent);
    assert.deepEqual((await other.state()).errors, []);
  });
}

scene('people on the call page meet clients of every dialect', async (scene) => {
  const ada = await scene.visit('Ada');
  const guests = [await scene.join('lightstream'), await scene.join('singo'), await scene.join('mesh', { call: '0' })];
  const grace = await scene.visit('Grace');

  await everybodySeesFour([ada, grace], guests);
  await grace.page.screenshot({ path: outputFile('call-page-every-dialect.png') });
  await grace.page.getByTestId('quality-low').check();
  await Promise.all(guests.map((guest) => guest.until('offered again', () => Object.values(window.state.peers).some(({ offersGot }) => offersGot > 1))));
  await everybodySeesFour([ada, grace], guests);
  for (const guest of guests) assert.deepEqual((await guest.state()).errors, []);
});

/** @param {import('../lib/visitor.js').Visitor[]} visitors @param {import('../lib/guest.js').Guest[]} guests */
async function everybodySeesFour(visitors, guests) {
  await Promise.all([...visitors.map((visitor) => visitor.seesMoving(4)), ...guests.map((guest) => seesEverybody(guest, 4))]);
}

scene('the picture for the README', async (scene) => {
  scene.room = 'seminar';
  const [ada, grace, linus] = [await scene.visit('Ada', paintCamera), await scene.visit('Grace', paintCamera), await scene.visit('Linus', paintCamera)];
  await Promise.all([ada.sees('Grace', 'Linus'), grace.sees('Ada', 'Linus'), linus.sees('Ada', 'Grace')]);
  await grace.writes('Can everybody see the whiteboard?');
  await ada.reads('Grace', 'whiteboard');
  await linus.writes('Yes. Sending my notes.');
  await linus.sends('notes.txt', Buffer.from('Draw the frame before you fill it.\n'));
  await ada.reads('Linus', 'notes');
  await ada.accepts('notes.txt');
  await ada.page.getByTestId('file-link').waitFor();
  await ada.seesMoving(2);

  await ada.page.screenshot({ path: outputFile('call-page.png') });
});
