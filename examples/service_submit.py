"""Runs a script on a server and tells what became of it.

emberbox serve &
python examples/service_submit.py
"""

from emberbox import Client
from emberbox.errors import EmberboxError

CODE = """
import json, sys
numbers = [int(word) for word in sys.argv[1:]]
print("the sum is", sum(numbers))
json.dump({"sum": sum(numbers), "count": len(numbers)}, open("result.json", "w"))
"""


def main() -> int:
    """Run, and show what there is to see."""
    # The server and the key: EMBERBOX_SERVER and EMBERBOX_API_KEY, a saved profile,
    # or the service on this machine.
    with Client() as client:
        job = client.run(
            CODE, runtime="python", args=["3", "4", "5"], artifacts=["*.json"], labels={"example": "submit"}
        )
        print(f"{job.id} {job.status}, exit code {job.exit_code}")
        print(job.stdout, end="")
        print("result:", client.jobs.read_artifact(job.id, "result.json").decode())
        if job.metrics is not None:
            print(
                f"queue {job.metrics.wait_ms:.0f} ms, VM {job.metrics.boot_ms:.0f} ms, "
                f"program {job.metrics.run_ms:.0f} ms"
            )
        return 0 if job.ok else 1


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except EmberboxError as error:
        raise SystemExit(f"{error.code}: {error}") from error
