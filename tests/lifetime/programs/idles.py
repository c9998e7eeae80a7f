from common import Greeter, make_space

space = make_space()
for number in range(20):
    space.add(Greeter(f"idle-{number}"))
space.add(Greeter, "Built")
me = space.join("me")
for number in range(20):
    me.proxy(f"idle-{number}").greet()
me.proxy("Built").greet()
print("end of main", flush=True)
