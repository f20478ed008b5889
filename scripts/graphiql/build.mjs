// Bundles GraphiQL with esbuild into the folder that is given, with the licences of all that went in.
import { build } from "esbuild";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const into = process.argv[2];
const manifest = (folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
const { version } = manifest("node_modules/graphiql");

// The style sheet brings its fonts as data; those of the system do.
const fonts = {
  name: "no-fonts",
  setup(bundler) {
    bundler.onLoad({ filter: /\.css$/ }, ({ path }) => {
      const css = readFileSync(path, "utf8").replace(/@font-face\s*\{[^}]*\}/g, "");
      return { contents: css, loader: "css" };
    });
  },
};

const { metafile } = await build({
  entryPoints: { graphiql: "entry.mjs" },
  outdir: into,
  bundle: true,
  minify: true,
  metafile: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  banner: {
    js: `// GraphiQL ${version} and what it needs, made by scripts/vendor_graphiql; the licences are in LICENSES.txt.`,
    css: `/* GraphiQL ${version}, made by scripts/vendor_graphiql; the licences are in LICENSES.txt. */`,
  },
  plugins: [fonts],
});

const folders = new Set();
for (const output of Object.values(metafile.outputs)) {
  for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
    const [folder] = input.match(/^.*node_modules\/(@[^/]+\/)?[^/]+/) ?? [];
    if (folder && bytesInOutput > 0) folders.add(folder);
  }
}

// A package without a licence text of its own has at least its name and its author told.
const told = [...folders].sort().map((folder) => {
  const { name, version, license, author, repository } = manifest(folder);
  const file = readdirSync(folder).find((each) => /^(licen[cs]e|copying)/i.test(each));
  const by = typeof author === "string" ? author : author?.name;
  const home = typeof repository === "string" ? repository : repository?.url;
  const text = file ? readFileSync(join(folder, file), "utf8") : `${license}; by ${by ?? name}, ${home ?? ""}`;
  if (!license) throw new Error(`${name} names no licence`);
  return `${name} ${version}: ${license}\n\n${text.replace(/\r/g, "").replace(/[ \t]+$/gm, "").trim()}\n`;
});
writeFileSync(join(into, "LICENSES.txt"), told.join(`\n${"-".repeat(78)}\n\n`));
