"""Other layouts of a whole graph, for targets whose hardware wants one."""
