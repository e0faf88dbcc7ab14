//! Control groups, where the hierarchy allows them to be made.

use crate::machine::{children, is_root, program, start, works};
use gate_runtime::{
    CgroupConfig, CgroupError, CgroupHierarchy, Config, ContainerCgroup, ContainerConfig, Executor,
    ExecutorError, NoHostFunctions, ProcessGroup, ProcessPolicy, TrapId, open_cgroup,
};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A place for groups, which is removed with everything in it. There is none where groups cannot be made.
pub(crate) struct Playground {
    pub(crate) path: PathBuf,
    directory: PathBuf,
}

impl Playground {
    pub(crate) fn new(name: &str) -> Option<Self> {
        let hierarchy = CgroupHierarchy::detect().ok()?;
        let path = hierarchy.group_of(None).ok()?.join(format!("gate-test-{name}-{}", std::process::id()));
        let directory = hierarchy.mount_point().join(path.strip_prefix("/").unwrap());
        match fs::create_dir(&directory) {
            Ok(()) => Some(Self { path, directory }),
            Err(error) => {
                println!("no groups here: {}: {error}", directory.display());
                None
            }
        }
    }

    fn config(&self, process: Option<PathBuf>) -> Config {
        let cgroup = CgroupConfig { container: ContainerCgroup::Path(self.path.join("executor")), process };
        Config { container: ContainerConfig { cgroup, ..Default::default() }, ..Default::default() }
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        for _ in 0..100 {
            for child in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(child.path());
            }
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The cgroups of an executor's processes.
fn cgroups_of_programs(executor: i32) -> Vec<String> {
    children(executor as u32, "gate-program")
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok())
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned)))
        .collect()
}

/// Waits until a group has used so much processor time.
async fn worked(group: &ProcessGroup, time: Duration) -> Duration {
    for _ in 0..2000 {
        let used = group.usage().unwrap().cpu.unwrap();
        if used >= time {
            return used;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", group.usage());
}

async fn populated(group: &ProcessGroup) -> bool {
    for _ in 0..200 {
        if group.usage().unwrap().processes > 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

#[tokio::test]
async fn processes_are_born_frozen_and_killed_in_groups() {
    let Some(playground) = Playground::new("life") else { return };
    let executor = Arc::new(Executor::new(playground.config(None)).await.unwrap());
    assert_eq!(executor.cgroup().unwrap(), playground.path.join("executor"));
    let program = program();
    let group = ProcessGroup::builder(playground.path.join("guests")).create().unwrap();
    assert!(!group.is_populated().unwrap());

    let factory = executor.group(Some(group.clone()));
    let mut process = factory.new_process().await.unwrap();
    let _instance = start(&mut process, &program, "spin", ProcessPolicy::default());
    assert!(populated(&group).await);
    let pid = fs::read_to_string(
        CgroupHierarchy::detect()
            .unwrap()
            .mount_point()
            .join(playground.path.join("executor/cgroup.procs").strip_prefix("/").unwrap()),
    )
    .unwrap();
    // It is in its group a little before it has become a program.
    let mut groups = Vec::new();
    for _ in 0..200 {
        groups = cgroups_of_programs(pid.trim().parse().unwrap());
        if !groups.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(groups, [group.path().to_str().unwrap()]);

    worked(&group, Duration::from_millis(10)).await;
    group.freeze().await.unwrap();
    assert!(group.is_frozen().unwrap());
    let frozen = group.usage().unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(group.usage().unwrap().cpu, frozen.cpu);
    group.thaw().await.unwrap();
    worked(&group, frozen.cpu.unwrap() + Duration::from_millis(1)).await;

    let mut none = NoHostFunctions;
    let (outcome, removed) = tokio::join!(process.serve(&mut none), group.clone().remove());
    assert_eq!(outcome.unwrap().trap, TrapId::Killed);
    removed.unwrap();
    assert!(matches!(open_cgroup(group.path()), Err(CgroupError::System { .. })));

    // The others go on.
    works(executor.new_process().await.unwrap(), &program).await;
    let process = executor.new_group_process(Some(&group)).await;
    match process {
        Err(ExecutorError::Cgroup(_)) => {}
        Ok(mut process) => {
            start(&mut process, &program, "six", ProcessPolicy::default());
            assert!(process.serve(&mut NoHostFunctions).await.is_err());
        }
        Err(error) => panic!("{error}"),
    }
    executor.shut_down();
    executor.dead().await;
}

#[tokio::test]
async fn there_is_a_default_group() {
    let Some(playground) = Playground::new("default") else { return };
    let guests = playground.path.join("guests");
    let executor = Executor::new(playground.config(Some(guests.clone()))).await.unwrap();
    let group = open_cgroup(&guests).unwrap();
    let process = executor.new_process().await.unwrap();
    assert!(populated(&group).await);
    works(process, &program()).await;
    executor.close().await;
}

#[tokio::test]
async fn what_an_executor_may_not_use_is_explained() {
    let Some(playground) = Playground::new("access") else { return };
    if !is_root() {
        return;
    }
    // Where the host is: nobody has given anything to the executor there.
    let executor = crate::machine::executor().await;
    let group = ProcessGroup::builder(playground.path.join("guests")).create().unwrap();
    let error = executor.new_group_process(Some(&group)).await.err().unwrap();
    assert!(matches!(error, ExecutorError::Cgroup(CgroupError::Access { .. })), "{error}");
    assert!(error.to_string().contains("not writable for user 65533"), "{error}");
    works(executor.new_process().await.unwrap(), &program()).await;
    executor.close().await;
}

#[tokio::test]
async fn limits_are_set_or_the_controller_is_named() {
    let Some(playground) = Playground::new("limits") else { return };
    let hierarchy = CgroupHierarchy::detect().unwrap();
    let available = hierarchy.controllers().unwrap();
    let groups = [
        ("memory", ProcessGroup::builder(playground.path.join("a")).memory_max(64 << 20)),
        ("pids", ProcessGroup::builder(playground.path.join("b")).pids_max(3)),
        (
            "cpu",
            ProcessGroup::builder(playground.path.join("c"))
                .cpu_max(Duration::from_millis(20), Duration::from_millis(100)),
        ),
        (
            "hugetlb",
            ProcessGroup::builder(playground.path.join("d")).setting("hugetlb", "hugetlb.2MB.max", "0"),
        ),
    ];
    for (controller, builder) in groups {
        match builder.create() {
            Ok(group) => {
                assert!(group.controllers().unwrap().iter().any(|name| name == controller));
                group.remove().await.unwrap();
            }
            Err(error @ CgroupError::Controller { .. }) => {
                println!("{error}");
                assert!(error.to_string().contains(&format!("no controller {controller}: ")), "{error}");
                if !available.iter().any(|name| name == controller) && hierarchy.is_hybrid() {
                    assert!(error.to_string().contains("version 1") || error.to_string().contains("kernel"));
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Nothing is left of those that could not be made.
    let mount = hierarchy.mount_point().join(playground.path.strip_prefix("/").unwrap());
    let left = fs::read_dir(mount).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    assert_eq!(left, 0);
}

#[test]
fn names_that_are_none_are_refused() {
    if CgroupHierarchy::detect().is_err() {
        return;
    }
    for name in ["relative", "", "/a/../b"] {
        assert!(matches!(open_cgroup(name), Err(CgroupError::Name { .. })), "{name}");
    }
    assert!(matches!(open_cgroup("/gate-no-such-group"), Err(CgroupError::System { .. })));
}
