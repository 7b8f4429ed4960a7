// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Governed} from "../support/Governed.sol";
import {vm} from "../support/Vm.sol";

contract TimelockTest is Governed {
    function test_only_the_governor_proposes_and_nobody_administers() public view {
        bytes32[3] memory roles =
            [timelock.DEFAULT_ADMIN_ROLE(), timelock.PROPOSER_ROLE(), timelock.CANCELLER_ROLE()];
        address[5] memory others = [address(this), voter, guardian, stranger, address(0)];
        for (uint256 i = 0; i < roles.length; ++i) {
            for (uint256 j = 0; j < others.length; ++j) yes("no role", !timelock.hasRole(roles[i], others[j]));
        }
        yes("proposes", timelock.hasRole(roles[1], address(gov)));
        yes("cancels", timelock.hasRole(roles[2], address(gov)));
        yes("anybody executes", timelock.hasRole(timelock.EXECUTOR_ROLE(), address(0)));
        eq("waits", timelock.getMinDelay(), WAIT);
    }

    function test_it_governs() public view {
        eq("params", params.governor(), address(timelock));
    }

    /// @dev F: the deployer, or anybody else, could schedule what nobody voted for.
    function test_nobody_else_schedules_or_grants() public {
        address[3] memory others = [address(this), voter, stranger];
        bytes32 proposer = timelock.PROPOSER_ROLE();
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(IAccessControl.AccessControlUnauthorizedAccount.selector, abi.encode(others[i], proposer));
            vm.prank(others[i]);
            timelock.schedule(address(token), 0, "", 0, 0, WAIT);
            _refuses(IAccessControl.AccessControlUnauthorizedAccount.selector, abi.encode(others[i], bytes32(0)));
            vm.prank(others[i]);
            timelock.grantRole(proposer, others[i]);
        }
    }
}
