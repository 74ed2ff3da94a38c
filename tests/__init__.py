"""All tests. How busy the machine is decides none of them: hypothesis has no deadline and judges no speed."""

import resource
import signal

from hypothesis import HealthCheck, settings

from tests.effort import count_examples

settings.register_profile(
    "meshtx",
    max_examples=count_examples(100),
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("meshtx")

# An ordinary user begins with 1,024 descriptors and may have more: some tests hold a thousand connections, both ends.
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for commands in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs that a test interrupts are to hear it
