from agency import StartFailed
from common import Greeter, make_space, tell


class Failing(Greeter):
    def after_add(self) -> None:
        raise ValueError("no key")


if __name__ == "__main__":
    space = make_space()
    for arguments in ((Failing, "Built"), (Failing("Given"),)):
        try:
            space.add(*arguments)
        except StartFailed:
            tell("failed")
    tell("end of main")
