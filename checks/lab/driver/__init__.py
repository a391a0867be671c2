"""The lab's driver: the NixOS test driver's interface over machines made of namespaces.

nodes     what a scenario declares, and what each machine gets
keys      ssh keys, made fresh for each run
files     the files that make a Debian root file system one particular machine
tailnet   the files and programs of machines that are in one
network   the bridge, the cables, their faults
delay     a program: a slow line between two taps
cgroup    CPU seconds and limits per machine
boot      a machine's view of the world, up to its first process
inside    what runs in the machines: the first process and the services
shell     commands inside a machine, and waiting for what they say
machine   one machine: a shell, a power switch and a cable
log       what a run says
driver    all of them together
plan      which scenario runs on which versions of Nix
passed    what of the matrix need not be run again
jobs      each scenario in a box of its own: one line, one log directory
pool      what there is to run side by side, as much as there is room for
__main__  one scenario, inside its box

Beside it, since it runs in the same queue:

end_to_end  the integration tests, each in each root file system

The box is a process, mount and network namespace around the driver. Machines, cables and mounts live inside it, so
they end with it, however it ends.
"""
