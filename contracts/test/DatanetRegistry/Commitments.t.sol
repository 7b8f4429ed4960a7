// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDatanetRegistry as I} from "../../src/interfaces/IDatanetRegistry.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract CommitTest is World {
    bytes32 private constant COMMITMENT = "rows and salt";

    function test_a_commitment_has_the_time_of_its_block() public {
        eq("nobody", datanets.committedAt(COMMITMENT), 0);
        _emits(address(datanets));
        emit I.RowsCommitted(COMMITMENT, uint64(block.timestamp));
        vm.prank(alice);
        datanets.commit(COMMITMENT);
        eq("time", datanets.committedAt(COMMITMENT), block.timestamp);
    }

    /// @dev F: a copier who sends the same commitment once more makes it younger.
    function test_the_first_time_stays_whoever_sends_it_again() public {
        vm.prank(alice);
        datanets.commit(COMMITMENT);
        uint256 time = block.timestamp;
        vm.warp(time + 1 days);
        vm.prank(bob);
        datanets.commit(COMMITMENT);
        vm.prank(alice);
        datanets.commit(COMMITMENT);
        eq("time", datanets.committedAt(COMMITMENT), time);
    }
}
