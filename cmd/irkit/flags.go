package main

import (
	"time"

	"github.com/urfave/cli/v2"
)

// Flags that several commands share. They are kubectl's where it has one.

func clusterFlags() []cli.Flag {
	return in("The cluster",
		&cli.StringFlag{Name: "kubeconfig", Usage: "`FILE` with the cluster's address and credentials", EnvVars: []string{"KUBECONFIG"}},
		&cli.StringFlag{Name: "context", Usage: "`NAME` of the kubeconfig's context"},
		&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "`NAMESPACE` of the pod"},
		&cli.StringFlag{Name: "as", Usage: "`USER` to impersonate"},
		&cli.StringSliceFlag{Name: "as-group", Usage: "`GROUP` to impersonate"},
	)
}

func caseFlags() []cli.Flag {
	return in("Case and custody",
		&cli.StringFlag{Name: "case", Usage: "`ID` that groups everything about one incident (default: the pod's open case, else a new one)"},
		&cli.StringFlag{Name: "home", Usage: "`FOLDER` of the cases (default: $IRKIT_HOME, else ~/.local/state/irkit)"},
	)
}

// keyFlag belongs to commands that sign.
func keyFlag() []cli.Flag {
	return in("Case and custody",
		&cli.StringFlag{Name: "key", Usage: "signing key `FILE` (default: ~/.config/irkit/id_ed25519, made on first use)"},
	)
}

func custodyFlags() []cli.Flag {
	return in("Case and custody",
		&cli.StringFlag{Name: "authority", Usage: "`TEXT` on what ground: ticket, order, policy; goes into custody"},
		&cli.StringFlag{Name: "purpose", Usage: "`TEXT` to what end; goes into custody"},
		&cli.StringFlag{Name: "approver", Usage: "`NAME` of who approved; goes into custody"},
	)
}

func handFlags() []cli.Flag {
	return in("The hand beside the target",
		&cli.StringFlag{Name: "image", Usage: "`REF` of irkit's own agent image (irkit agent push)", EnvVars: []string{"IRKIT_IMAGE"}},
		&cli.StringFlag{Name: "debug-image", Usage: "`REF` of any image with sh, cat and chmod; the agent is streamed into it", EnvVars: []string{"IRKIT_DEBUG_IMAGE"}},
		&cli.StringFlag{Name: "pull", Value: "IfNotPresent", Usage: "image pull `POLICY`: IfNotPresent, Always, Never"},
		&cli.StringFlag{Name: "transport", Value: "auto", Usage: "`HOW` exec streams are carried: auto, ws, spdy"},
		&cli.DurationFlag{Name: "max-life", Value: 24 * time.Hour, Usage: "`TIME` that our process beside the target lives at most"},
	)
}

func actFlags() []cli.Flag {
	return in("Asking",
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
		&cli.StringFlag{Name: "dry-run", Value: "none", Usage: "`HOW` far to go: none (act), client (print the plan and stop), server (have the API server check every write too)"},
	)
}

// forceFlag is one word for all that irkit would refuse; the plan names what it overrides.
func forceFlag() cli.Flag {
	return &cli.BoolFlag{Name: "force", Usage: "go on where irkit would refuse, as the plan names it: in a protected namespace; " +
		"on a pod that another case holds, whose mark release puts back"}
}

func protectedFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "protected", EnvVars: []string{"IRKIT_PROTECTED"},
		Usage: "`NAMESPACE` where only --force isolates, beside Kubernetes' and irkit's own and those with label irkit.dev/protected"}
}

func storeFlags() []cli.Flag {
	return in("The store",
		&cli.StringFlag{Name: "store", Usage: "also put the sealed bundle to `PLACE`: a folder, or s3://bucket/prefix"},
		&cli.StringFlag{Name: "lock", Usage: "S3 Object Lock `MODE` for every file: governance, compliance"},
		&cli.DurationFlag{Name: "retain", Value: 90 * 24 * time.Hour, Usage: "`TIME` that the lock lasts"},
		&cli.BoolFlag{Name: "legal-hold", Usage: "put a legal hold on every file in S3"},
	)
}

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "`FORMAT` of stdout: text, json, yaml"}
}

// flags joins groups of them.
func flags(groups ...[]cli.Flag) []cli.Flag {
	var all []cli.Flag
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}
