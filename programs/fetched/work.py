"""What people use Python for, in small: its output is compared with Wasmtime's."""

import collections, dataclasses, hashlib, itertools, json, os, pathlib, re, sqlite3, sys, time, zlib

print(json.dumps({"a": [1, 2.5, None, "ü"], "b": {"c": True}}, sort_keys=True))
print(re.findall(r"(\w+)@(\w+)\.org", "ann@example.org, bob@example.org"))
print(hashlib.sha256(b"gate").hexdigest(), hashlib.md5(b"gate").hexdigest())
print(zlib.crc32(b"gate"), len(zlib.compress(b"gate" * 1000)))
print(collections.Counter("mississippi").most_common(2), list(itertools.permutations("abc"))[3])


@dataclasses.dataclass
class Point:
    x: int
    y: int = 2


print(Point(1), sys.version_info[:2], sys.platform)

database = sqlite3.connect(":memory:")
database.execute("create table squares (n integer primary key, square integer)")
database.executemany("insert into squares values (?, ?)", ((n, n * n) for n in range(1000)))
print(database.execute("select sum(square), count(*) from squares where n % 3 = 0").fetchone())

data = pathlib.Path("/data")
(data / "from-python").mkdir(exist_ok=True)
file = data / "from-python" / "lines"
file.write_text("".join(f"line {n}\n" for n in range(5000)))
with file.open("r+") as lines:
    lines.seek(100)
    print(lines.readline().strip(), lines.readline().strip())
    lines.seek(0, os.SEEK_END)
    print(lines.tell(), file.stat().st_size)
file.rename(data / "from-python" / "renamed")
print(sorted(path.name for path in data.rglob("*")))
(data / "from-python" / "renamed").unlink()
(data / "from-python").rmdir()
for path in ["/etc/passwd", "/data/../../etc/passwd", "/data/missing"]:
    try:
        open(path)
    except OSError as error:
        print(type(error).__name__)

begin = time.monotonic()
primes = [n for n in range(2, 30000) if all(n % d for d in range(2, int(n**0.5) + 1))]
print(len(primes), primes[-1], time.monotonic() > begin)

if len(sys.argv) > 1:
    {"exit": lambda: sys.exit(3), "raise": lambda: [][0]}[sys.argv[1]]()
