# The lab: a real Kubernetes on this machine, for the end-to-end suite. See
# docs/lab.md. Included by the Makefile at the top of the checkout.

LAB_CACHE := $(or $(IRKIT_LAB_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/irkit-lab)
LAB       := $(LAB_CACHE)/lab
LAB_RUN    = IRKIT_LAB_SOURCE=$(CURDIR)/lab $(LAB)

.PHONY: lab-program lab-build lab-up lab-down lab-status lab-scene lab-reset lab-check

lab-program:
	@mkdir -p $(LAB_CACHE)
	@cd lab && go build -trimpath -o $(LAB) ./cmd/lab

lab-build: lab-program ## compile the lab's parts (cold: about 20 minutes)
	@$(LAB_RUN) build

lab-up: lab-program ## a real cluster on this machine (CNI=cilium or bridge), with the scene
	@$(LAB_RUN) up && $(LAB_RUN) scene

lab-down: lab-program ## take the lab away, whatever state it is in
	@$(LAB_RUN) down

lab-status: lab-program ## what of the lab runs
	@$(LAB_RUN) status

lab-scene: lab-program ## put the workloads back in place
	@$(LAB_RUN) scene

lab-reset: lab-program ## delete the workloads, with all that tests left there, and put them back
	@$(LAB_RUN) scene reset

lab-check: lab-program ## up, killed in the middle, down: nothing may stay behind
	@IRKIT_LAB_SOURCE=$(CURDIR)/lab LAB=$(LAB) lab/check.sh
