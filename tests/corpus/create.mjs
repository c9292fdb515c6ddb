// Creates a zip archive of a directory: create.mjs WAY SOURCE ARCHIVE.

import { createRequire } from "node:module";
import { createWriteStream, lstatSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { finished } from "node:stream/promises";

// The packages are installed where this process was started, not beside this file.
const load = createRequire(join(process.cwd(), "here.js"));
const [way, source, target] = process.argv.slice(2);

function* walk(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const status = lstatSync(path);
    yield { path, name: relative(source, path), status };
    if (status.isDirectory()) yield* walk(path);
  }
}

async function archiver(options) {
  const loaded = load("archiver");
  const archive = loaded.ZipArchive ? new loaded.ZipArchive(options) : loaded("zip", options);
  const output = createWriteStream(target);
  archive.pipe(output);
  archive.directory(source, false);
  await archive.finalize();
  await finished(output);
}

async function yazl(options) {
  const archive = new (load("yazl").ZipFile)();
  for (const { path, name, status } of walk(source)) {
    if (status.isDirectory()) archive.addEmptyDirectory(name);
    else if (status.isSymbolicLink()) {
      archive.addBuffer(Buffer.from(readlinkSync(path)), name, { ...options, mode: status.mode });
    } else archive.addFile(path, name, options);
  }
  archive.end({ forceZip64Format: Boolean(options.forceZip64Format) });
  const output = createWriteStream(target);
  archive.outputStream.pipe(output);
  await finished(output);
}

async function jszip(platform, streamFiles) {
  const archive = new (load("jszip"))();
  for (const { path, name, status } of walk(source)) {
    const unixPermissions = status.mode;
    if (status.isDirectory()) archive.file(name, null, { dir: true, unixPermissions });
    else if (status.isSymbolicLink()) archive.file(name, readlinkSync(path), { unixPermissions });
    else archive.file(name, readFileSync(path), { unixPermissions });
  }
  const compression = "DEFLATE";
  writeFileSync(target, await archive.generateAsync({ type: "nodebuffer", platform, streamFiles, compression }));
}

const ways = {
  archiver: () => archiver({}),
  "archiver, stored": () => archiver({ store: true, comment: "made by archiver" }),
  "archiver, ZIP64": () => archiver({ forceZip64: true }),
  yazl: () => yazl({}),
  "yazl, ZIP64": () => yazl({ forceZip64Format: true }),
  jszip: () => jszip("UNIX", false),
  "jszip, streaming": () => jszip("UNIX", true),
  "jszip, DOS": () => jszip("DOS", false),
};
await ways[way]();
