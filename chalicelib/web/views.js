/** The views: each reads what it shows, and returns it as elements. */

import { ApiError, client, inRepository, LoginNeeded } from "./client.js";
import { ago, copier, make, say, short, size, wordsOf } from "./dom.js";

const INDEX = /(image\.index\.v1|manifest\.list\.v2)\+json$/;
/** Tags by which cosign 2 and others attach things to an image. */
const ATTACHED = /^sha256-([0-9a-f]{64})(?:\.(\w+))?$/;
/** What an artifact type says that an artifact is. */
const KINDS = /** @type {const} */ ([
  [/cosign|sigstore|notary|signature/, "signature"],
  [/spdx|cyclonedx|syft|sbom/, "SBOM"],
  [/in-toto|attestation|slsa/, "attestation"],
  [/helm/, "Helm chart"],
  [/wasm/, "WebAssembly"],
  [/(container|oci)\.image(\.config)?\.v1\+json/, "image"],
]);

/**
 * The command that pulls an image, or what is none.
 * @param {any} image
 * @param {string} name
 * @param {string} reference tag or digest
 */
function pulling(image, name, reference) {
  const kind = image ? kindOf(image) : "image";
  const byDigest = reference.includes(":");
  const place = `${location.host}/${name}`;
  if (kind === "Helm chart" && !byDigest) return `helm pull oci://${place} --version ${reference.replaceAll("_", "+")}`;
  return `${kind === "image" || kind === "index" ? "docker" : "oras"} pull ${place}${byDigest ? "@" : ":"}${reference}`;
}

/** @param {string} name */
const toRepository = (name) => `#/repository/${encodeURI(name)}`;

/**
 * @param {string} name
 * @param {string} digest
 */
const toImage = (name, digest) => `#/image/${encodeURI(name)}@${digest}`;

/**
 * Say what went wrong; where the login has ended, ask for one.
 * @param {unknown} error
 */
function report(error) {
  say(wordsOf(error));
  if (error instanceof LoginNeeded) document.dispatchEvent(new Event("moorage-changed"));
}

/** @param {any} image */
function kindOf(image) {
  if (INDEX.test(image.media_type)) return "index";
  const type = image.artifact_type ?? "";
  return KINDS.find(([pattern]) => pattern.test(type))?.[1] ?? (type || "image");
}

/**
 * @param {string} name
 * @param {string} [last]
 */
function crumbs(name, last) {
  return make("nav", { class: "crumbs", "aria-label": "Where this is" },
    make("a", { href: "#/" }, "Repositories"), " / ",
    last ? make("a", { href: toRepository(name) }, name) : name, last ? ` / ${last}` : null);
}

/**
 * Add the rows of each page to a list, when they are asked for.
 * @param {string} first path of the first page
 * @param {(content: any) => void} add
 */
async function paged(first, add) {
  const button = make("button", { type: "button" }, "Show more");
  const row = make("div", { class: "bar-row" }, button);
  /** @param {string} path */
  const load = async (path) => {
    const { content, next } = await client.read(path);
    add(content);
    row.hidden = next === null;
    button.onclick = async () => {
      button.disabled = true;
      try {
        await load(/** @type {string} */ (next));
      } catch (error) {
        report(error);
      }
      button.disabled = false;
    };
  };
  await load(first);
  return row;
}

/** @param {string} prefix */
export async function repositoriesView(prefix) {
  const body = make("tbody");
  /** When the collector was there: of the repository that it has not seen for the longest time. */
  let oldest = "";
  const query = new URLSearchParams({ n: "100", ...(prefix ? { prefix } : {}) });
  const seen = make("p", { class: "soft" });
  const more = await paged(`/v2/_moorage/repositories?${query}`, (content) => {
    for (const row of content.repositories) {
      body.append(repositoryRow(row));
      const at = row.facts?.as_of;
      if (at && (!oldest || at < oldest)) oldest = at;
    }
    if (oldest) seen.replaceChildren("Sizes and counts are as of the collector's last look; the oldest were noted ", ago(oldest), ".");
  });
  const none = prefix
    ? make("p", { class: "soft" }, `No repository that you may pull from begins with “${prefix}”.`)
    : make("p", { class: "soft" }, "There is nothing here yet that you may pull. Push an image: ",
      make("code", {}, `docker push ${location.host}/team/app:v1`));
  return [
    make("h1", {}, "Repositories"),
    body.childElementCount || !more.hidden ? make("div", { class: "card" }, table(["Name", "#Tags", "#Size", "#Shared", "#Unused", "#$ a month", "Pushed", "Last pull"], body, "repositories")) : none,
    seen, more,
  ];
}

/** @param {any} row */
function repositoryRow(row) {
  const { name, facts } = row;
  const at = name.lastIndexOf("/") + 1;
  const link = make("td", {}, make("a", { class: "name", href: toRepository(name) }, make("span", { class: "group" }, name.slice(0, at)), name.slice(at)));
  if (!facts) return make("tr", {}, link, make("td", { class: "none", colspan: 7 }, "size and use are known after the collector's next look"));
  const unused = facts.unused_bytes ? make("span", { class: "waste", title: "No image names it: the collector frees it" }, size(facts.unused_bytes)) : facts.unused_bytes === 0 ? "none" : size(facts.unused_bytes);
  return make("tr", { title: `As of ${facts.as_of}` }, link,
    make("td", { class: "number", "data-label": "tags" }, facts.tags),
    make("td", { class: "number", "data-label": "size" }, size(facts.linked_bytes)),
    make("td", { class: "number soft", "data-label": "shared" }, size(facts.shared_bytes)),
    make("td", { class: "number soft", "data-label": "unused" }, unused),
    make("td", { class: "number soft", "data-label": "$ a month" }, dollars(facts.usd_month)),
    make("td", { class: "near", "data-label": "pushed" }, ago(facts.pushed_at, "never")),
    make("td", { class: "near soft", "data-label": "last pull" }, ago(facts.pulled_at, "none noted")));
}

/** @param {number | null} amount in USD */
function dollars(amount) {
  if (amount === null) return "unknown";
  return amount > 0 && amount < 0.01 ? "< 0.01" : amount.toFixed(2);
}

/**
 * A table; the head of a column of numbers begins with #.
 * @param {string[]} heads
 * @param {HTMLElement} body
 * @param {string} [kind]
 */
function table(heads, body, kind) {
  return make("table", { class: kind ?? null }, make("thead", {}, make("tr", {}, ...heads.map((head) =>
    make("th", { class: head[0] === "#" ? "number" : null }, head.replace(/^#/, ""))))), body);
}

/**
 * @param {string} name
 * @param {string} prefix what the tags begin with
 */
export async function repositoryView(name, prefix) {
  /** @type {Map<string, any>} */
  const chosen = new Map();
  const body = make("tbody");
  const remove = make("button", { type: "button", class: "bad", disabled: true, onclick: () => deletion(name, [...chosen.values()]) }, "Delete…");
  const compare = make("button", { type: "button", disabled: true, title: "Of two tags that name different images" }, "Compare");
  compare.onclick = () => {
    const [one, other] = [...chosen.values()];
    location.hash = `#/difference/${encodeURI(name)}@${one.digest}..${other.digest}`;
  };
  const choose = () => {
    remove.disabled = !chosen.size;
    remove.textContent = chosen.size ? `Delete ${chosen.size}…` : "Delete…";
    const digests = [...chosen.values()].map((row) => row.digest);
    compare.disabled = digests.length !== 2 || digests[0] === digests[1];
  };
  const query = new URLSearchParams({ n: "100", ...(prefix ? { prefix } : {}) });
  const more = await paged(inRepository(name, `_moorage/tags?${query}`), (content) => {
    remove.hidden = !content.may_delete;
    const attached = new Map();
    for (const row of content.tags) {
      const found = ATTACHED.exec(row.tag);
      if (found) attached.set(`sha256:${found[1]}`, [...(attached.get(`sha256:${found[1]}`) ?? []), row]);
    }
    const shown = new Set(content.tags.map((/** @type {any} */ row) => row.digest));
    for (const row of content.tags) {
      const found = ATTACHED.exec(row.tag);
      if (found && shown.has(`sha256:${found[1]}`)) continue;
      body.append(tagRow(name, row, attached.get(row.digest) ?? [], (on) => {
        if (on) chosen.set(row.tag, row);
        else chosen.delete(row.tag);
        choose();
      }));
    }
  });
  return [
    crumbs(name), make("h1", {}, name),
    make("div", { class: "bar-row" },
      make("a", { href: `#/everything/${encodeURI(name)}` }, "Everything in here, tagged or not"),
      make("a", { href: `#/history/${encodeURI(name)}` }, "History"),
      make("a", { href: `#/retention/${encodeURI(name)}` }, "Retention"),
      make("span", { class: "grow" }), tagSearch(name, prefix), compare, remove),
    body.childElementCount
      ? make("div", { class: "card" }, table(["", "Tag", "What", "#Size", "Pushed", "Last pull", "Pull"], body))
      : prefix ? make("p", { class: "soft" }, `No tag begins with “${prefix}”. `, make("a", { href: toRepository(name) }, "All tags"))
      : make("p", { class: "soft" }, "No tags. Images without one are in ", make("a", { href: `#/everything/${encodeURI(name)}` }, "everything"), "; what was deleted is in ", make("a", { href: `#/history/${encodeURI(name)}` }, "the history"), "."),
    more,
  ];
}

/**
 * @param {string} name
 * @param {string} prefix
 */
function tagSearch(name, prefix) {
  const field = make("input", { type: "search", value: prefix, placeholder: "Tags that begin with …", "aria-label": "Search tags by how they begin", autocomplete: "off", spellcheck: "false" });
  /** @param {Event} event */
  const search = (event) => {
    event.preventDefault();
    location.hash = toRepository(name) + (field.value ? `?prefix=${encodeURIComponent(field.value)}` : "");
  };
  return make("form", { role: "search", onsubmit: search }, field);
}

/**
 * @param {string} name
 * @param {any} row
 * @param {any[]} attached tags that hold signatures and the like of this image
 * @param {(on: boolean) => void} choose
 */
function tagRow(name, row, attached, choose) {
  const { image } = row;
  const box = make("input", { type: "checkbox", "aria-label": `Choose ${row.tag}`, onchange: () => choose(box.checked) });
  const unfold = make("button", { type: "button", class: "icon", "aria-expanded": "false", "aria-label": `Show what ${row.tag} is made of` }, "▸");
  const line = make("tr", {},
    make("td", { class: "near" }, box, " ", image ? unfold : null),
    make("td", { class: "title" }, make("a", { class: "tag", href: toImage(name, row.digest) }, row.tag)),
    make("td", {}, image ? what(image) : make("span", { class: "none" }, "its manifest was deleted"), staying(row)),
    make("td", { class: "number", "data-label": "size" }, image ? size(image.total_bytes) : ""),
    make("td", { "data-label": "pushed" }, ago(row.tagged_at ?? image?.pushed_at), row.tagged_by ? make("span", { class: "soft" }, ` by ${who(row.tagged_by)}`) : null),
    make("td", { class: "soft", "data-label": "last pull" }, image ? ago(image.pulled_at, "none noted") : ""),
    make("td", { class: "near" },
      copier(pulling(image, name, row.tag), "the command that pulls this tag", "tag"),
      copier(pulling(image, name, row.digest), "the command that pulls this digest", "digest")));
  /** @type {HTMLElement[]} */
  let nested = [];
  unfold.onclick = async () => {
    const open = unfold.getAttribute("aria-expanded") !== "true";
    if (open && !nested.length) {
      unfold.disabled = true;
      try {
        nested = await nestedRows(name, row.digest, attached);
      } catch (error) {
        report(error);
        unfold.disabled = false;
        return;
      }
      unfold.disabled = false;
      line.after(...nested);
    }
    for (const each of nested) each.hidden = !open;
    unfold.setAttribute("aria-expanded", String(open));
    unfold.textContent = open ? "▾" : "▸";
  };
  return line;
}

/**
 * Rows of an image's platforms, and of what refers to it.
 * @param {string} name
 * @param {string} digest
 * @param {any[]} attached
 */
async function nestedRows(name, digest, attached) {
  const { content } = await client.read(inRepository(name, `_moorage/images/${digest}`));
  /**
   * @param {string} to
   * @param {string} title
   * @param {string} kind
   * @param {number | null | undefined} bytes
   * @param {any} image
   */
  const row = (to, title, kind, bytes, image) => make("tr", { class: "nested" },
    make("td"), make("td", { class: "title" }, make("a", { href: toImage(name, to) }, title)),
    make("td", {}, chip(kind), make("span", { class: "mono soft" }, short(to))),
    make("td", { class: "number", "data-label": "size" }, size(bytes)),
    make("td", { "data-label": "pushed" }, image ? ago(image.pushed_at) : ""), make("td", { class: "soft", "data-label": "last pull" }, image ? ago(image.pulled_at, "none noted") : ""), make("td"));
  const rows = [
    ...content.manifests.map((/** @type {any} */ each) => each.image
      ? row(each.digest, nameOf(each, content.manifests), each.attests ? "attestation" : kindOf(each.image), each.image.total_bytes, each.image)
      : row(each.digest, nameOf(each, content.manifests), "not in this repository", undefined, null)),
    ...content.referrers.map((/** @type {any} */ each) => row(each.digest, "refers to it", kindOf(each), each.size, null)),
    ...attached.map((each) => row(each.digest, each.tag.split(".")[1] ?? "attached", "attached by a tag", each.image?.total_bytes, each.image)),
  ];
  if (!rows.length) rows.push(make("tr", { class: "nested" }, make("td"), make("td", { colspan: 6, class: "soft" }, "It has no platforms, and nothing refers to it.")));
  return rows;
}

/**
 * Where an image runs, in words.
 * @param {any[] | null} runs
 */
function running(runs) {
  return (runs ?? []).map(({ source, from, what: words, until }) => {
    const where = `runs in ${from === "ecs" ? "ECS " : from === "k8s" ? "Kubernetes " : ""}${source}${words ? `: ${words}` : ""}`;
    const late = Date.parse(until) < Date.now();
    const lease = late ? "lease overdue since" : "lease until";
    return make("span", { class: "chip runs", title: late ? `${source} was to be read again by ${until}: nobody knows whether it still runs` : `As ${source} says, which is read again by ${until}` },
      `${where}, ${lease} ${until.slice(0, 10)}`);
  });
}

/**
 * Why an image stays, in words: where it runs, and the rules that keep it.
 * @param {any} row
 */
function staying({ runs, kept_by: rules }) {
  const words = rules === null ? [make("span", { class: "chip" }, "rules can't be read")] : (rules ?? []).map((/** @type {any} */ { rule, kind, last }) =>
    make("span", { class: "chip rule" }, kind === "immutable" ? `may not move, by rule ${rule}` : kind === "always" ? `kept by rule ${rule}` : `kept while among the last ${last}, by rule ${rule}`));
  return [...running(runs), ...words];
}

/** @param {any} image */
function what(image) {
  return (image.platforms ?? [kindOf(image)]).map(chip);
}

/** @param {string} text */
function chip(text) {
  return make("span", { class: "chip", title: text.length > 30 ? text : null }, text);
}

/**
 * How an index calls one of the manifests that it names.
 * @param {any} named
 * @param {any[]} all
 */
function nameOf(named, all) {
  const of = named.attests && all.find((each) => each.digest === named.attests);
  return of ? `of ${of.platform ?? short(of.digest)}` : named.platform ?? "no platform";
}

/** @param {string} principal */
function who(principal) {
  return principal.replace(/^credential:/, "");
}

/** @param {string} name */
export async function everythingView(name) {
  const body = make("tbody");
  const more = await paged(inRepository(name, "_moorage/images?n=100"), (content) => {
    for (const image of content.images) {
      body.append(make("tr", {},
        make("td", { class: "near" }, make("a", { class: "mono", href: toImage(name, image.digest) }, short(image.digest))),
        make("td", {}, what(image)),
        make("td", { class: "near" }, image.subject ? ["of ", make("a", { class: "mono", href: toImage(name, image.subject) }, short(image.subject))] : null),
        make("td", { class: "number", "data-label": "size" }, size(image.total_bytes)),
        make("td", { "data-label": "pushed" }, ago(image.pushed_at)),
        make("td", { class: "soft", "data-label": "last pull" }, ago(image.pulled_at, "none noted"))));
    }
  });
  return [
    crumbs(name, "everything"), make("h1", {}, name),
    make("p", { class: "soft" }, "Every manifest by its digest: images, indexes, the images that indexes name, signatures. What no tag leads to stays until it is deleted."),
    make("div", { class: "card" }, table(["Digest", "What", "Refers to", "#Size", "Pushed", "Last pull"], body)),
    more,
  ];
}

/**
 * @param {string} name
 * @param {string} digest
 */
export async function imageView(name, digest) {
  const { content } = await client.read(inRepository(name, `_moorage/images/${digest}`));
  const title = content.tags[0] ?? short(digest);
  const pull = pulling(content, name, digest);
  return [
    crumbs(name, title),
    make("h1", {}, title, " ", what(content)),
    make("div", { class: "bar-row" },
      make("code", { class: "wrap" }, pull), copier(pull, "the command that pulls it"), make("span", { class: "grow" }),
      content.may_delete && make("button", { type: "button", class: "bad", onclick: () => deletion(name, [{ digest, tag: null }]) }, "Delete…")),
    make("div", { class: "card" }, facts([
      ["Digest", make("span", { class: "mono" }, digest, copier(digest, "the digest"))],
      ["Tags", content.tags.join(", ") || "none"],
      ["Type", content.media_type],
      ["Artifact type", ["image", "index"].includes(kindOf(content)) ? null : content.artifact_type],
      ["Size", `${size(content.total_bytes)}, and ${size(content.size)} of manifest`],
      ["Pushed", [ago(content.pushed_at), content.pushed_by ? ` by ${who(content.pushed_by)}` : ""]],
      ["Last pull", ago(content.pulled_at, "none noted")],
      ["Stays", staying(content)],
      ["Refers to", content.subject && make("a", { class: "mono", href: toImage(name, content.subject) }, content.subject)],
    ])),
    ...content.manifests.length ? [make("h2", {}, "Platforms"), make("div", { class: "card" }, make("table", {}, make("tbody", {},
      content.manifests.map((/** @type {any} */ each) => make("tr", {},
        make("td", {}, make("a", { href: toImage(name, each.digest) }, nameOf(each, content.manifests))),
        make("td", {}, each.attests ? chip("attestation") : null, make("span", { class: "mono soft" }, short(each.digest))),
        make("td", { class: "number" }, each.image ? size(each.image.total_bytes) : "not in this repository"))))))] : [],
    ...content.layers.length ? [make("h2", {}, "Layers"), layerTable(content.layers)] : [],
    ...content.referrers.length ? [make("h2", {}, "Signatures, SBOMs and what else refers to it"), make("div", { class: "card" }, make("table", {}, make("tbody", {},
      content.referrers.map((/** @type {any} */ each) => make("tr", {},
        make("td", {}, make("a", { class: "mono", href: toImage(name, each.digest) }, short(each.digest))),
        make("td", {}, chip(kindOf(each)), make("span", { class: "soft wrap" }, each.artifact_type ?? "")),
        make("td", { class: "number" }, size(each.size))))))),
    content.more_referrers ? make("p", { class: "soft" }, "There are more than a thousand; the rest is not shown.") : ""] : [],
    ...content.config ? titled("Config", configFacts(content.config))
      : INDEX.test(content.media_type) ? [] : [make("p", { class: "soft" }, "Its config can't be shown: it is no JSON object, or too large.")],
    ...titled("Annotations", Object.entries(content.annotations)),
  ];
}

/** @param {any[]} layers */
function layerTable(layers) {
  const largest = Math.max(...layers.map((layer) => layer.size), 1);
  return make("div", { class: "card" }, make("table", {},
    make("thead", {}, make("tr", {}, make("th", { class: "number" }, "Size"), make("th", {}, ""), make("th", {}, "Command"), make("th", {}, "Shared"))),
    make("tbody", {}, layers.map((layer) => {
      const share = make("div", { class: "share" });
      share.style.width = `${(100 * layer.size) / largest}%`;
      return make("tr", { class: layer.only ? "only" : null },
        make("td", { class: "number", title: layer.digest }, size(layer.size)),
        make("td", { class: "share-cell" }, share),
        make("td", { class: "mono wrap" }, layer.command ?? make("span", { class: "none" }, short(layer.digest))),
        make("td", { class: "near soft" }, shared(layer.repositories)));
    }))));
}

/** @param {number | null} repositories */
function shared(repositories) {
  if (repositories === null) return "unknown";
  return repositories > 1 ? `with ${repositories - 1} ${repositories === 2 ? "repository" : "repositories"}` : "only here";
}

/** @param {any} config */
function configFacts(config) {
  const platform = [config.os, config.architecture, config.variant].filter((each) => typeof each === "string").join("/");
  /** @type {[string, unknown][]} */
  const rows = [
    ["Platform", platform], ["Built", config.created], ["Author", config.author], ["User", config.user],
    ["Entrypoint", config.entrypoint], ["Command", config.cmd], ["Folder", config.working_dir], ["Environment", config.env],
    ["Ports", config.exposed_ports && Object.keys(config.exposed_ports)],
    ...Object.entries(config.labels ?? {}).map(([label, value]) => /** @type {[string, unknown]} */ ([`Label ${label}`, value])),
  ];
  return /** @type {[string, any][]} */ (rows.map(([label, value]) => [label, plain(value)]));
}

/** @param {unknown} value of a config, which may be anything */
function plain(value) {
  if (value === null || value === undefined || value === "") return null;
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value.map((each) => make("div", { class: "mono" }, each));
  return JSON.stringify(value);
}

/** @param {[string, any][]} rows of which those without a value are left out */
const known = (rows) => rows.filter(([, value]) => value && value.length !== 0);

/**
 * Facts below a heading, if there are any.
 * @param {string} title
 * @param {[string, any][]} rows
 */
function titled(title, rows) {
  return known(rows).length ? [make("h2", {}, title), make("div", { class: "card" }, facts(rows))] : [];
}

/** @param {[string, any][]} rows */
function facts(rows) {
  return make("dl", {}, known(rows).map(([label, value]) =>
    [make("dt", {}, label), make("dd", {}, ...[value].flat())]).flat());
}

/**
 * @param {string} name
 * @param {string} one
 * @param {string} other
 */
export async function differenceView(name, one, other) {
  const [left, right] = await Promise.all([one, other].map(async (digest) =>
    (await client.read(inRepository(name, `_moorage/images/${digest}`))).content));
  /**
   * @param {any} mine
   * @param {any} theirs
   */
  const side = (mine, theirs) => {
    const there = new Set(theirs.layers.map((/** @type {any} */ layer) => layer.digest));
    const layers = mine.layers.map((/** @type {any} */ layer) => ({ ...layer, only: !there.has(layer.digest) }));
    const own = layers.filter((/** @type {any} */ layer) => layer.only);
    const bytes = own.reduce((/** @type {number} */ sum, /** @type {any} */ layer) => sum + layer.size, 0);
    return [
      make("h2", {}, make("a", { href: toImage(name, mine.digest) }, titleOf(mine))),
      make("p", { class: "soft" }, `${own.length} of ${layers.length} layers, ${size(bytes)}, are in this image alone (marked).`),
      layers.length ? layerTable(layers) : make("p", { class: "soft" }, "An index: compare the images of one platform."),
    ];
  };
  const [mine, theirs] = [left, right].map((image) => new Map(image.config ? configFacts(image.config) : []));
  const changed = [...new Set([...mine.keys(), ...theirs.keys()])].filter((key) => textOf(mine.get(key)) !== textOf(theirs.get(key)));
  return [
    crumbs(name, "difference"), make("h1", {}, "What differs"),
    ...side(left, right), ...side(right, left),
    make("h2", {}, "Config"),
    changed.length ? make("div", { class: "card" }, table(["", titleOf(left), titleOf(right)], make("tbody", {}, changed.map((key) => make("tr", {},
      make("td", { class: "soft wrap" }, key), ...[[left, mine], [right, theirs]].map(([image, rows]) =>
        make("td", { class: "wrap", "data-label": titleOf(image) }, rows.get(key) ?? make("span", { class: "none" }, "nothing")))))), "sides")) : make("p", { class: "soft" }, "No difference."),
  ];
}

/** @param {any} image */
const titleOf = (image) => image.tags[0] ?? short(image.digest);

/** @param {any} shown text, or elements */
const textOf = (shown) => [shown ?? ""].flat().map((each) => each.textContent ?? each).join("\n");

/** What becomes of an image, in words: the rule or source that decided follows them. */
const REASONS = /** @type {Record<string, string>} */ ({
  expired: "goes by rule", young: "goes by rule", kept: "kept by rule", immutable: "its tag may not move, by rule",
  "in-use": "runs in", "no-rule": "no rule says that it goes", unknown: "stays: its last pull is not known", "being-pushed": "is being pushed",
});

/** @param {string} name */
export async function retentionView(name) {
  const body = make("tbody");
  const head = make("div");
  const more = await paged(inRepository(name, "_moorage/retention"), (content) => {
    head.replaceChildren(make("div", {}, ...retentionWords(content)));
    const rows = content.decisions.filter((/** @type {any} */ row) => row.root === row.digest);
    rows.sort((/** @type {any} */ one, /** @type {any} */ other) => Number(other.goes) - Number(one.goes) || String(one.due ?? "~").localeCompare(other.due ?? "~"));
    for (const row of rows) body.append(decisionRow(name, row));
  });
  return [
    crumbs(name, "retention"), make("h1", {}, name), head,
    body.childElementCount || !more.hidden ? make("div", { class: "card" }, table(["Image", "Tag", "What becomes of it", "When"], body)) : null,
    more,
  ];
}

/** @param {any} content of the preview */
function retentionWords(content) {
  if (!content.rules.length) return [make("p", { class: "soft" }, "No rule of retention is for this repository: nothing of it goes by itself.")];
  return [
    make("ul", { class: "rules" }, content.rules.map((/** @type {any} */ rule) => make("li", {}, make("b", {}, rule.name), `: ${rule.words}`))),
    content.stopped ? make("p", { class: "error" }, `Nothing goes: ${content.stopped.text ?? "something that runs has not been looked at in time"}.`) : null,
    content.images === null ? null : make("p", {}, make("b", {}, `${content.going} of ${count(content.images, "image", "images")} would go in the next run`), ", with what belongs to them, into the trash."),
  ];
}

/**
 * @param {string} name
 * @param {any} row
 */
function decisionRow(name, row) {
  const words = REASONS[row.reason] ?? row.reason;
  const named = ["expired", "young", "kept", "immutable", "in-use"].includes(row.reason);
  return make("tr", { class: row.goes ? "only" : null },
    make("td", { class: "near" }, make("a", { class: "mono", href: toImage(name, row.digest) }, short(row.digest))),
    make("td", { class: "tag" }, row.tag ?? ""),
    make("td", { class: row.goes ? "waste" : null }, words, named ? [" ", make("b", {}, row.by ?? "somewhere")] : null, row.reason === "expired" && !row.goes ? ", once nothing stops that" : null),
    make("td", { class: "near soft" }, row.goes ? "in the next run" : row.due ? make("time", { datetime: row.due, title: row.due }, String(row.due).slice(0, 10)) : ""));
}

/** @param {string} name */
export async function historyView(name) {
  const body = make("tbody");
  const more = await paged(inRepository(name, "_moorage/history?n=100"), (content) => {
    for (const row of content.history) body.append(changeRow(name, row));
  });
  return [
    crumbs(name, "history"), make("h1", {}, name),
    make("p", { class: "soft" }, "What tags named before, and what was deleted, tag by tag, of the last year."),
    body.childElementCount ? make("div", { class: "card" }, table(["Tag", "Named", "Then", "When", "Now", ""], body))
      : make("p", { class: "soft" }, "No tag has moved yet, and nothing was deleted."),
    more,
  ];
}

/**
 * @param {string} name
 * @param {any} row
 */
function changeRow(name, row) {
  const button = make("button", { type: "button", "aria-label": `Restore ${row.tag ?? short(row.digest)} of ${row.at}` }, "Restore");
  button.onclick = async () => {
    button.disabled = true;
    const query = new URLSearchParams({ digest: row.digest, ...(row.tag ? { tag: row.tag } : {}) });
    try {
      const restored = await client.post(inRepository(name, `_moorage/restore?${query}`));
      const tags = restored.tags.join(", ");
      say(`Restored ${short(restored.digest)}${tags ? `, under ${tags}` : ""}.`);
      document.dispatchEvent(new Event("moorage-changed"));
    } catch (error) {
      report(error);
      button.disabled = false;
    }
  };
  const state = /** @type {Record<string, any>} */ ({
    gone: "gone for good",
    live: make("a", { href: toImage(name, row.digest) }, "is here"),
    trash: ["in the trash until ", make("time", { datetime: row.until, title: row.until }, String(row.until).slice(0, 10))],
  });
  const back = row.state === "trash" || (row.state === "live" && row.tag && !row.to);
  return make("tr", {},
    make("td", { class: "tag" }, row.tag ?? make("span", { class: "soft" }, "the image")),
    make("td", { class: "mono", "data-label": "named" }, short(row.digest)),
    make("td", { "data-label": "then" }, row.to ? make("a", { class: "mono", href: toImage(name, row.to) }, short(row.to)) : "deleted"),
    make("td", {}, ago(row.at), row.by ? make("span", { class: "soft" }, ` by ${who(row.by)}`) : null),
    make("td", { class: "soft", "data-label": "now" }, state[row.state] ?? row.state),
    make("td", { class: "near" }, back ? button : null));
}

/**
 * Ask, and delete tags or the images that they name.
 * @param {string} name
 * @param {{digest: string, tag: string | null}[]} rows
 */
async function deletion(name, rows) {
  const digests = [...new Set(rows.map((row) => row.digest))];
  if (digests.length > 100) return say("Up to 100 images are deleted at once: choose fewer.");
  const tags = rows.map((row) => row.tag).filter((tag) => tag !== null);
  const list = make("ul");
  const told = make("div", { class: "soft" });
  const button = make("button", { type: "button", class: "bad", disabled: true }, "Delete");
  const cancel = make("button", { type: "button", onclick: () => dialog.close() }, "Keep");
  const onlyTags = make("input", { type: "checkbox" });
  const alone = make("input", { type: "checkbox", checked: true });
  const aloneRow = make("label", { class: "bar-row", hidden: true }, alone, make("span"));
  const force = make("input", { type: "checkbox", onchange: () => { button.disabled = !force.checked; } });
  const forceRow = make("label", { class: "bar-row waste", hidden: true }, force, make("span", {}, "Delete what runs all the same: it can't be pulled any more"));
  const dialog = make("dialog", { "aria-labelledby": "deletion-title" },
    make("h2", { id: "deletion-title" }, `Delete from ${name}`),
    tags.length ? make("label", { class: "bar-row" }, onlyTags, "Only the tags: the images stay, by digest and under their other tags") : null,
    aloneRow, list, told, forceRow,
    make("div", { class: "bar-row" }, make("span", { class: "grow" }), cancel, button));
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  /** @type {string[]} what is to be deleted, as it is shown */
  let gone = [];
  let asked = 0;
  const write = async () => {
    asked += 1;
    const mine = asked;
    button.disabled = true;
    told.replaceChildren();
    forceRow.hidden = true;
    if (onlyTags.checked) {
      aloneRow.hidden = true;
      list.replaceChildren(...tags.map((tag) => make("li", {}, make("b", {}, tag))));
      gone = /** @type {string[]} */ (tags);
      button.disabled = false;
      return;
    }
    list.replaceChildren(make("li", {}, "Reading what depends on it …"));
    const query = new URLSearchParams(digests.map((digest) => ["digest", digest]));
    if (alone.checked) query.append("alone", "1");
    const { content } = await client.read(inRepository(name, `_moorage/deletion?${query}`));
    if (mine !== asked) return;
    list.replaceChildren(...content.images.map(dependants));
    aloneRow.hidden = !content.alone?.length;
    aloneRow.lastChild.textContent = `Also ${count(content.alone?.length ?? 0, "image or signature", "images or signatures")} that nothing else leads to`;
    told.replaceChildren(...freed(content));
    gone = [...digests, ...(alone.checked ? content.alone ?? [] : [])];
    forceRow.hidden = !content.images.some((/** @type {any} */ image) => image.runs?.length);
    button.disabled = !forceRow.hidden && !force.checked;
  };
  /** @param {unknown} error */
  const refused = (error) => {
    told.replaceChildren();
    list.replaceChildren(make("li", { class: "error", role: "alert" }, wordsOf(error)));
  };
  onlyTags.onchange = () => write().catch(refused);
  alone.onchange = () => write().catch(refused);
  button.onclick = async () => {
    for (const each of dialog.querySelectorAll("input, button")) each.disabled = each !== cancel;
    cancel.textContent = "Stop";
    const words = onlyTags.checked ? ["tag", "tags"] : ["image", "images"];
    let done = 0;
    try {
      for (const each of gone) {
        // Whoever closes the dialog keeps what is left.
        if (!dialog.open) break;
        told.replaceChildren(`Deleting ${done + 1} of ${gone.length} …`);
        await client.remove(inRepository(name, `manifests/${each}${forceRow.hidden ? "" : "?force=true"}`));
        done += 1;
      }
    } catch (error) {
      refused(error);
      told.replaceChildren(`${done} of ${count(gone.length, words[0], words[1])} deleted.`);
      cancel.textContent = "Close";
      dialog.addEventListener("close", () => document.dispatchEvent(new Event("moorage-changed")));
      return;
    }
    dialog.close();
    say(`Deleted ${done === gone.length ? "" : `${done} of `}${count(gone.length, words[0], words[1])}.`);
    const here = toRepository(name);
    if (location.hash.split("?")[0] === here) document.dispatchEvent(new Event("moorage-changed"));
    // In place of an image that is gone: back does not lead there.
    else location.replace(here);
  };
  await write().catch(refused);
}

/** @param {any} image of a deletion */
function dependants(image) {
  const named = image.named_by ?? [];
  return make("li", {}, make("span", { class: "mono" }, short(image.digest)),
    image.tags.length ? [": ", image.tags.length > 1 ? "tags " : "tag ", make("b", {}, image.tags.join(", "))] : "", ...image.runs?.length ? [" ", ...running(image.runs)] : [],
    image.referrers ? `; ${count(image.referrers, "other manifest refers", "other manifests refer")} to it` : "",
    named.length ? make("span", { class: "waste" }, `; ${count(named.length, "index names", "indexes name")} it, and can't be pulled whole without it`) : "");
}

/** @param {any} content of a deletion */
function freed(content) {
  const { unused_bytes: unused, freed_bytes: free, until } = content;
  const shared = unused - free;
  const bytes = unused === null ? "How many bytes that frees is not known: the repository is too large to look."
    : free === null ? `Frees up to ${size(unused)}: what other repositories share stays.`
      : `Frees ${size(free)}${shared ? `; ${size(shared)} more are in other repositories, too, and stay` : ""}.`;
  return [
    make("p", {}, make("b", {}, bytes), until ? " The bytes go once the trash is emptied." : " They are gone at once."),
    make("p", {}, until ? [`The repository's history brings it back until ${String(until).slice(0, 10)}.`] : "There is no trash: it can't be brought back."),
  ];
}

/**
 * @param {number} number
 * @param {string} one
 * @param {string} many
 */
function count(number, one, many) {
  return `${number} ${number === 1 ? one : many}`;
}
