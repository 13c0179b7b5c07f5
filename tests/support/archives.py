"""Archives as a whole, for tests that look into one or change something in it."""

from minitransformer.system.archive import open_archive


def load_archive(path) -> tuple[dict, dict]:
    """Return (arrays, description) of the archive at `path`, as save_archive takes them."""
    with open_archive(path) as archive:
        return archive.read(archive.members), archive.description
