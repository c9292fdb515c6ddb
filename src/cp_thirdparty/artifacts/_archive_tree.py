"""
Build the directory tree of an archive in memory, and check all names and symbolic links before anything is written.

It is not enough to check the target of each symbolic link alone.  If ``y`` is a link to ``.``, the target
``y/../secret`` of another link leads outside.  So each target is resolved in the tree, one part of the path after the
other, in the same way as the operating system resolves it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from cp_thirdparty.artifacts import _archive_rules as rules
from cp_thirdparty.artifacts._archive_rules import Rule, rule_error
from cp_thirdparty.artifacts.limits import ArchiveLimits

Kind: TypeAlias = Literal["file", "directory", "link"]

# In bytes of UTF-8: the limit of Linux, macOS and Windows for one part of a path.
_LONGEST_PART: Final = 255
# In bytes of UTF-8: PATH_MAX of macOS, and three quarters of PATH_MAX of Linux.  The last quarter is for the path of
# the directory into which the archive is extracted.
_LONGEST_NAMES: Final = {"portable": 1024, "posix": 3072}
# PATH_MAX of Linux, without the NUL.
LONGEST_TARGET: Final = 4095
# The limit of the lengths of all targets together, because all targets stay in memory: 16 Mi characters, or this number
# for each allowed entry if that is more.  Usual targets have about 100 characters.
_TARGET_CHARACTERS: Final = 16 << 20
_TARGET_CHARACTERS_PER_ENTRY: Final = 168
# A program that follows symbolic links may see at most this many times `max_entries` entries.
_MAX_COPIES: Final = 100

_PART: Final = re.compile("[^/]+")
_ABSOLUTE: Final = re.compile(r"/|[A-Za-z]:[/\\\\]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")  # Python's replacement for bytes that are not UTF-8
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Characters that Windows does not allow in a name, or interprets as part of a path.
_SEPARATOR: Final = re.compile(r'[\\:<>"|?*]')
# The reserved names in "Naming Files, Paths, and Namespaces" of the Windows documentation.  A reserved name with any
# extension is reserved too.
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])([ .].*)?", re.IGNORECASE)


@attrs.define(eq=False)
class Node:
    """
    A file, a directory or a symbolic link of the tree.

    Attributes:
        name: The name in the parent directory.
        parent: The parent directory; ``None`` for the root.
        kind: Whether the node is a file, a directory or a symbolic link.
        depth: The number of parts of the path.
        children: The nodes in a directory.  The keys are the names, or the folded names if case is ignored.
        has_entry: Whether the archive has an entry for the node.  A directory may occur only as a part of other names.
        target: The target of a symbolic link.
        content: Data of the code that uses the tree.
    """

    name: str
    parent: Node | None
    kind: Kind
    depth: int
    children: dict[str, Node]
    has_entry: bool = True
    target: str = ""
    content: Any = None

    @property
    def path(self) -> str:
        """The path from the root, without a slash at the end."""
        names: list[str] = []
        node, parent = self, self.parent
        while parent is not None:
            names.append(node.name)
            node, parent = parent, parent.parent
        return "/".join(reversed(names))


# The `children` of all files and links.  An own dictionary for each of 100,000 files would use much memory.
_NO_CHILDREN: Final[dict[str, Node]] = {}


class Tree:
    """
    A tree of files, directories and symbolic links.  Each name is checked when it is added.

    Args:
        limits: What the tree may contain.
        is_folding: Whether names that differ only in case or Unicode composition are the same name.  If the limits
            require portable names, they always are.
    """

    def __init__(self, limits: ArchiveLimits, *, is_folding: bool = False) -> None:
        self._limits = limits
        self._is_portable = limits.names == "portable"
        self._longest_name = _LONGEST_NAMES[limits.names]
        self._is_folding = is_folding or self._is_portable
        self._implied = 0
        self._links: dict[Node, None] = {}
        self._most_target_characters = max(_TARGET_CHARACTERS, _TARGET_CHARACTERS_PER_ENTRY * limits.max_entries)
        self._target_characters = 0
        self.root = Node("", None, "directory", 0, {})
        # The path of a directory as the archive spells it -> its node.  So the parent of most names is found at once.
        self._directories: dict[str, Node] = {"": self.root}

    def add(self, name: str, kind: Kind) -> Node:
        """
        Check a name, add it to the tree, and return its node.

        Empty parts and the part ``.`` of the name are ignored, as on all operating systems.  A directory may be added
        twice, and its name may end with a slash.

        Raises:
            cp_thirdparty.exceptions.UnsafeArchiveError: The name breaks a rule.
        """
        outcome = self._add(name, kind)
        if isinstance(outcome, Rule):
            raise rule_error(outcome, name, self._limits)
        return outcome

    def directories(self) -> Iterator[tuple[str, Node]]:
        """Yield the path and the node of each directory.  A parent comes before its children; the root is ``""``."""
        waiting = [("", self.root)]
        while waiting:
            path, node = waiting.pop()
            yield path, node
            prefix = path and f"{path}/"
            below = [child for child in node.children.values() if child.kind == "directory"]
            waiting.extend((prefix + child.name, child) for child in reversed(below))

    def set_target(self, link: Node, target: str) -> None:
        """
        Set the target of a link.  `find_link_violations` checks it when the tree is complete.

        Raises:
            cp_thirdparty.exceptions.UnsafeArchiveError: All targets together are too long.
        """
        self._target_characters += len(target)
        if self._target_characters > self._most_target_characters:
            raise rule_error(rules.LINK_BYTES, link.path, self._limits)
        link.target = target
        self._links[link] = None

    def remove(self, node: Node) -> None:
        """Remove a link or an empty directory from the tree."""
        parent = cast("Node", node.parent)  # the root, which has no parent, is never removed
        self._links.pop(node, None)
        self._target_characters -= len(node.target)
        del parent.children[self._key(node.name)]

    def find_link_violations(self, check: Callable[[], object]) -> dict[Node, Rule]:
        """
        Return the links that break a rule, each with its rule.

        If a link breaks a rule only because it leads through another link, the other link comes first.  The rule
        against cycles is checked only if no link breaks another rule.  So call this method again after the links were
        removed.

        Args:
            check: A function that is called for each step.  It raises an error if the work must be aborted.

        Raises:
            cp_thirdparty.exceptions.UnsafeArchiveError: Links repeat the tree too often.
        """
        resolution = _Resolution(self._key, self._find_target_violation)
        for link in self._links:
            for _ in resolution.follow(link):
                check()
        ends: dict[Node, list[tuple[Node, Node]]] = {}
        for link, (end, missing) in resolution.ends.items():
            if end.kind == "directory" and not missing:
                ends.setdefault(cast("Node", link.parent), []).append((link, end))
        if resolution.broken or not ends:
            return resolution.broken
        cycles = _find_cycles(self.root, ends, _MAX_COPIES * self._limits.max_entries)
        if cycles is None:
            raise rule_error(rules.LINK_COPIES, "", self._limits)
        return resolution.with_followers(dict.fromkeys(cycles, rules.LINK_CYCLE))

    def _find_target_violation(self, target: str) -> Rule | None:
        if self._limits.symlinks == "refuse":
            return rules.LINK
        if not target or "\0" in target or len(target.encode("utf-8", "surrogateescape")) > LONGEST_TARGET:
            return rules.LINK_TARGET
        if self._is_portable and any(unusual.search(target) for unusual in (_CONTROL, _SEPARATOR, _SURROGATE)):
            return rules.LINK_TARGET
        return rules.LINK_OUTSIDE if target.startswith("/") else None

    # --- names

    def _add(self, name: str, kind: Kind) -> Node | Rule:
        rule = _find_path_violation(name, self._longest_name)
        if rule is not None:
            return rule
        head, _, last = name.removesuffix("/").rpartition("/")
        parent = self._directories.get(head)
        if parent is None or last in ("", "."):
            parts = [part for part in name.split("/") if part not in ("", ".")]
            if not parts:
                return self.root if kind == "directory" else rules.EMPTY_NAME
            outcome = self._add_parents(parts[:-1])
            if isinstance(outcome, Rule):
                return outcome
            parent = outcome
            if last == parts[-1]:
                self._directories[head] = parent
            last = parts[-1]
        return self._find_part_violation(last) or self._put(parent, last, kind)

    def _add_parents(self, parts: list[str]) -> Node | Rule:
        node = self.root
        if len(parts) >= self._limits.max_depth:
            return rules.DEPTH
        for part in parts:
            rule = self._find_part_violation(part)
            if rule is not None:
                return rule
            key = self._key(part)
            child = node.children.get(key)
            if child is None:
                self._implied += 1
                if self._implied > self._limits.max_entries:
                    return rules.ENTRIES
                child = node.children[key] = Node(part, node, "directory", node.depth + 1, {}, has_entry=False)
            elif child.name != part:
                return rules.TWIN
            elif child.kind != "directory":
                return rules.BELOW_FILE
            node = child
        return node

    def _put(self, parent: Node, name: str, kind: Kind) -> Node | Rule:
        key = self._key(name)
        node = parent.children.get(key)
        if node is None:
            children = {} if kind == "directory" else _NO_CHILDREN
            node = parent.children[key] = Node(name, parent, kind, parent.depth + 1, children)
            return node
        if node.name != name:
            return rules.TWIN
        if node.kind == kind == "directory":
            self._implied -= not node.has_entry
            node.has_entry = True
            return node
        return rules.FILE_AND_DIRECTORY if "directory" in (node.kind, kind) else rules.DUPLICATE

    def _key(self, name: str) -> str:
        if not self._is_folding:
            return name
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

    def _find_part_violation(self, part: str) -> Rule | None:
        if part == "..":
            return rules.PARENT
        if len(part) > _LONGEST_PART // 4 and len(part.encode("utf-8", "surrogatepass")) > _LONGEST_PART:
            return rules.LONG_NAME
        if not part.isascii() and _SURROGATE.search(part):
            return rules.NOT_UTF8
        return _find_portability_violation(part) if self._is_portable else None


def _find_portability_violation(part: str) -> Rule | None:
    """Return the rule of Windows that a part of a path breaks, or ``None``."""
    if _CONTROL.search(part):
        return rules.CONTROL
    if _SEPARATOR.search(part):
        return rules.SEPARATOR
    if part[-1] in ". ":
        return rules.TRAILING
    return rules.RESERVED if _RESERVED.fullmatch(part) else None


def _find_path_violation(name: str, most_bytes: int) -> Rule | None:
    """Return the rule that the complete path breaks, or ``None``.  The parts of the path are checked elsewhere."""
    if not name:
        return rules.EMPTY_NAME
    if "\0" in name:
        return rules.NUL
    if _ABSOLUTE.match(name):
        return rules.ABSOLUTE
    return rules.LONG_NAME if len(name.encode("utf-8", "surrogatepass")) > most_bytes else None


class _Resolution:
    """
    Finds where links lead, in the same way as the operating system follows them.

    Each link is followed once, so the time is proportional to the length of all targets.

    Args:
        key: Returns the key in `Node.children` for a name.
        find_target_violation: Returns the rule that a target breaks by itself, or ``None``.

    Attributes:
        ends: For each link, the last existing node on its path, and the number of missing parts after this node.  If
            the links form a circle, the last node is a link.
        broken: The links that break a rule, each with its rule.
    """

    def __init__(self, key: Callable[[str], str], find_target_violation: Callable[[str], Rule | None]) -> None:
        self._key = key
        self._find_target_violation = find_target_violation
        self._followers: dict[Node, list[Node]] = {}
        self.ends: dict[Node, tuple[Node, int]] = {}
        self.broken: dict[Node, Rule] = {}

    def follow(self, link: Node) -> Iterator[None]:
        """Find the end of a link, and the ends of all links on its path.  Yield after each step."""
        way = [] if link in self.ends else [self._walk(link)]
        while way:
            following = next(way[-1], None)
            if following is None:
                way.pop()
            elif following not in self.ends:
                way.append(self._walk(following))
            yield

    def _walk(self, link: Node) -> Iterator[Node]:
        """
        Find the end of one link.

        Yield each other link on its path.  The caller must find the end of that link before it continues this walk.
        """
        self.ends[link] = link, 0
        rule = self._find_target_violation(link.target)
        if rule is not None:
            self.broken[link] = rule
            return
        place = cast("Node", link.parent), 0
        for match in _PART.finditer(link.target):  # an iterator, because lists of the parts would use much memory
            following = self._step(*place, match.group())
            if isinstance(following, Rule):
                self.broken[link] = following
                return
            place = following
            child = place[0]
            if child.kind != "link":
                continue
            yield child
            self._followers.setdefault(child, []).append(link)
            if child in self.broken:
                self.broken[link] = rules.LINK_THROUGH
                return
            place = self.ends[child]
            if place[0].kind == "link":
                if _is_unsafe_after_circle(link.target[match.end() :]):
                    self.broken[link] = rules.LINK_OUTSIDE
                break
        self.ends[link] = place

    def _step(self, node: Node, missing: int, part: str) -> tuple[Node, int] | Rule:
        """
        Return the place to which the next part of a target leads, or the rule that it breaks.

        A place is an existing node and the number of missing parts after it.
        """
        if part == ".":
            return node, missing
        if part == ".." and missing:  # the missing directory may be created later, and then ".." leads back from it
            return node, missing - 1
        if part == "..":
            return rules.LINK_OUTSIDE if node.parent is None else (node.parent, 0)
        child = None if missing else node.children.get(self._key(part))
        if child is None:
            return node, missing + 1
        return (child, 0) if child.name == part else rules.LINK_SPELLING

    def with_followers(self, found: dict[Node, Rule]) -> dict[Node, Rule]:
        """Add all links that lead through one of the given links, which break a rule."""
        waiting = list(found)
        while waiting:
            for link in self._followers.get(waiting.pop(), ()):
                if link not in found:
                    found[link] = rules.LINK_THROUGH
                    waiting.append(link)
        return found


def _is_unsafe_after_circle(rest: str) -> bool:
    """
    Return whether the rest of a target after a circle of links can lead outside of the archive.

    The operating system reports an error for a circle, but some programs continue with the rest of the path.
    `os.path.realpath` of Python 3.10 to 3.12 joins the rest to the circle.  For ``circle//etc``, the rest is ``/etc``,
    which it interprets as an absolute path.
    """
    return "//" in rest or ".." in rest.split("/")


def _find_cycles(root: Node, ends: dict[Node, list[tuple[Node, Node]]], most: int) -> list[Node] | None:
    """
    Return the links that lead to a directory that contains them; ``None`` if links repeat the tree too often.

    A directory also contains the content of the directories to which its links lead.  A program that follows links into
    a cycle does not end.  Without a cycle, a few links can still repeat the tree a million times.

    Args:
        root: The root of the tree.
        ends: Directory -> the links in it that lead to directories, each with the directory to which it leads.
        most: The maximum number of entries that a program that follows links may see.
    """
    found: list[Node] = []
    copies: dict[Node, int] = {}
    # The directories on the current path, each with the last link before it on the path, and an iterator over the links
    # and subdirectories that are not visited yet.
    way: list[tuple[Node, Node | None, Iterator[tuple[Node | None, Node]]]] = []
    is_on_way: set[Node] = set()
    # Directories from which a cycle was found -> the directory of the path to which the cycle leads.  A later link to
    # one of these directories closes a cycle too, and is found without another visit.
    contained: dict[Node, Node] = {}

    def enter(directory: Node, link: Node | None) -> None:
        below: list[tuple[Node | None, Node]] = [(link, child) for child in directory.children.values()]
        way.append((directory, link, iter([*below, *ends.get(directory, ())])))
        is_on_way.add(directory)
        copies[directory] = 0

    enter(root, None)
    while way:
        directory, _, following = way[-1]
        latest, child = next(following, (None, None))
        if child is None:
            way.pop()
            is_on_way.remove(directory)
            if way:
                copies[way[-1][0]] += 1 + copies[directory]
            if copies[directory] > most:
                return None
        elif (ancestor := contained.get(child, child)) in is_on_way:
            found.append(cast("Node", latest))  # not None, because directories without links make no cycle
            at = -1
            while way[at][1] is latest:  # this loop ends at the root, because there is no link before the root
                contained[way[at][0]] = ancestor
                at -= 1
        elif child.kind == "directory" and child not in copies:
            enter(child, latest)
        else:
            copies[directory] += 1 + copies.get(child, 0)
    return found
