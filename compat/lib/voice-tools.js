/** Third-party programs that check the streams of voice. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { unlessCi } from './requirement.js';
import { samplesOf } from './voice-sine.js';

const run = promisify(execFile);
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
const WITHIN_MS = 60_000;

/** The reason why a test that needs these programs cannot run here, or false. @param {string[]} programs */
export function missing(...programs) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const absent = programs.filter((program) => !folders.some((folder) => existsSync(join(folder, program))));
  return unlessCi(absent.length > 0 && `NO ${absent.join(', ')} on PATH (xtask/setup.sh test installs them)`);
}

/**
 * The output of a program about a file, standard error first.
 * @param {string} program @param {string[]} options @returns {Promise<string>}
 */
async function output(program, ...options) {
  try {
    const { stdout, stderr } = await run(program, options, { timeout: WITHIN_MS });
    return stderr + stdout;
  } catch (error) {
    // They exit with a code of their own also for a warning.
    const { stdout = '', stderr = '', message } = /** @type {any} */ (error);
    return stderr + stdout || message;
  }
}

/** The lines in which `opusinfo` or `ogginfo` complains. @param {'opusinfo' | 'ogginfo'} program @param {string} file */
export async function complaints(program, file) {
  const lines = (await output(program, file)).split('\n');
  const isWhole = lines.some((line) => /Playback length/.test(line));
  return [...(isWhole ? [] : lines), ...lines.filter((line) => /warning|error|negative|hole|invalid|fail/i.test(line))];
}

/** Seconds, by `ffprobe`, which must print no warning. @param {string} file */
export async function probe(file) {
  const text = await output('ffprobe', '-v', 'error', '-show_entries', 'format=duration:stream=codec_name', '-of', 'json', file);
  const { streams, format } = JSON.parse(text);
  return { codec: streams[0].codec_name, seconds: Number(format.duration) };
}

/** The file as samples, by `ffmpeg`, which must print no warning. @param {string} file */
export async function decode(file) {
  const options = ['-v', 'error', '-i', file, '-f', 's16le', '-ac', '1', '-ar', '48000', '-'];
  const { stdout, stderr } = await run('ffmpeg', options, { encoding: 'buffer', maxBuffer: OUTPUT_BYTES_MAX, timeout: WITHIN_MS });
  if (stderr.length > 0) throw new Error(`ffmpeg: ${stderr}`);
  return samplesOf(stdout);
}
