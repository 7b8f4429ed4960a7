// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Checks} from "../support/Vm.sol";
import {FuzzSelector} from "./Conservation.t.sol";
import {VoteHandler} from "./VoteHandler.sol";

/// @notice Votes and stakes, whatever is done in whatever order.
contract VotesInvariantTest is Checks {
    VoteHandler private _handler;

    function setUp() public {
        _handler = new VoteHandler();
        _handler.setUp();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector({addr: address(_handler), selectors: _actions()});
    }

    function invariant_stakes_agree_with_the_books_and_go_by_votes_alone() external view {
        _handler.check();
    }

    /// @dev Liveness: whatever was done, every proposal ends, and no stake is stuck.
    function afterInvariant() external {
        _handler.leave();
        _handler.check();
    }

    function _actions() private pure returns (bytes4[] memory actions) {
        bytes4[14] memory all = [
            VoteHandler.bond.selector,
            VoteHandler.unbond.selector,
            VoteHandler.leaveStake.selector,
            VoteHandler.wait.selector,
            VoteHandler.wait.selector,
            VoteHandler.steal.selector,
            VoteHandler.proposeValues.selector,
            VoteHandler.proposeSlash.selector,
            VoteHandler.proposeSlash.selector,
            VoteHandler.castVote.selector,
            VoteHandler.castVote.selector,
            VoteHandler.castVote.selector,
            VoteHandler.carryOut.selector,
            VoteHandler.carryOut.selector
        ];
        actions = new bytes4[](all.length);
        for (uint256 i = 0; i < all.length; ++i) actions[i] = all[i];
    }

    /// @dev An invariant that holds because nothing happens proves nothing.
    function test_every_action_is_reached() external {
        bytes4[] memory actions = _actions();
        for (uint256 i = 0; i < 5_000; ++i) {
            uint256 random = uint256(keccak256(abi.encode(i)));
            bytes memory call = abi.encodePacked(
                actions[random % actions.length],
                abi.encode(random >> 8, uint256(uint64(random >> 64)), uint256(uint8(random >> 128)))
            );
            (bool success, bytes memory reason) = address(_handler).call(call);
            if (!success) {
                assembly ("memory-safe") {
                    revert(add(reason, 0x20), mload(reason))
                }
            }
        }
        string[13] memory names = [
            "bond", "unbond", "leave", "wait", "steal", "propose", "propose a slash", "vote", "defeat", "queue",
            "execute", "slash", "refused"
        ];
        for (uint256 i = 0; i < names.length; ++i) yes(names[i], _handler.numCalls(names[i]) > 0);
        _handler.leave();
        _handler.check();
    }
}
