// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Checks} from "../support/Vm.sol";
import {Handler} from "./Handler.sol";
import {Lists} from "./Lists.sol";
import {BlockingHandler, CallingHandler} from "./OddHandlers.sol";
import {Payers} from "./Payers.sol";

struct FuzzSelector {
    address addr;
    bytes4[] selectors;
}

/// @notice Whatever is done in whatever order, to the wei.
abstract contract Conserved is Checks {
    Handler internal _handler;

    function _new() internal virtual returns (Handler);

    function setUp() public {
        _handler = _new();
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

    function invariant_every_wei_is_where_the_books_say() external view {
        _handler.checkChannels();
        _handler.checkPayers();
        _handler.checkEachChannel();
        _handler.checkEachClaim();
        _handler.checkRewards();
        _handler.checkStaking();
        _handler.checkBonds();
        _handler.checkSupply();
    }

    /// @dev Liveness: whatever was done, no claim, deposit, stake, balance or bond is stuck.
    function afterInvariant() external {
        _handler.leave();
        this.invariant_every_wei_is_where_the_books_say();
    }

    /// @dev What moves money along stands more than once, so that it is not rare.
    function _actions() internal pure returns (bytes4[] memory actions) {
        bytes4[33] memory all = [
            Payers.open.selector,
            Payers.open.selector,
            Payers.topUp.selector,
            Payers.startWithdraw.selector,
            Payers.finishWithdraw.selector,
            Payers.refund.selector,
            Lists.claim.selector,
            Lists.claim.selector,
            Lists.propose.selector,
            Lists.propose.selector,
            Lists.finalize.selector,
            Lists.finalizeLate.selector,
            Lists.draw.selector,
            Lists.draw.selector,
            Lists.draw.selector,
            Payers.stop.selector,
            Payers.resume.selector,
            Handler.slash.selector,
            Handler.wait.selector,
            Handler.withdraw.selector,
            Handler.push.selector,
            Handler.bond.selector,
            Handler.unbond.selector,
            Handler.withdrawStake.selector,
            Lists.finalizeLate.selector,
            Handler.register.selector,
            Handler.retire.selector,
            Handler.reclaimBond.selector,
            Handler.wait.selector,
            Handler.donate.selector,
            Lists.finalize.selector,
            Handler.steal.selector,
            Handler.steal.selector
        ];
        actions = new bytes4[](all.length);
        for (uint256 i = 0; i < all.length; ++i) actions[i] = all[i];
    }
}

/// @notice With OPEN itself. `npm run test:deep` tries 125 times as much of it.
contract ConservationTest is Conserved {
    function _new() internal override returns (Handler) {
        return new Handler();
    }

    /// @dev An invariant that holds because nothing happens proves nothing.
    function test_every_action_is_reached() external {
        bytes4[] memory actions = _actions();
        for (uint256 i = 0; i < 3_000; ++i) {
            bytes32 random = keccak256(abi.encode(i));
            bytes memory call = abi.encodePacked(
                actions[uint256(random) % actions.length],
                abi.encode(keccak256(abi.encode(random, 1)), keccak256(abi.encode(random, 2)), uint64(i))
            );
            (bool success, bytes memory reason) = address(_handler).call(call);
            if (!success) {
                assembly ("memory-safe") {
                    revert(add(reason, 0x20), mload(reason))
                }
            }
        }
        string[26] memory names = [
            "open", "topUp", "startWithdraw", "finishWithdraw", "refund", "claim", "skip", "propose", "finalize",
            "finalizeLate", "withdraw", "push", "bond", "unbond", "withdrawStake",
            "register", "retire", "reclaimBond", "wait", "donate", "steal", "draw", "redraw", "stop",
            "resume", "slash"
        ];
        for (uint256 i = 0; i < names.length; ++i) yes(names[i], _handler.numCalls(names[i]) > 0);
        this.invariant_every_wei_is_where_the_books_say();
        _handler.leave();
        this.invariant_every_wei_is_where_the_books_say();
    }
}

/// forge-config: default.invariant.runs = 8
/// forge-config: deep.invariant.runs = 32
contract BlockingConservationTest is Conserved {
    function _new() internal override returns (Handler) {
        return new BlockingHandler();
    }
}

/// forge-config: default.invariant.runs = 8
/// forge-config: deep.invariant.runs = 32
contract CallingConservationTest is Conserved {
    function _new() internal override returns (Handler) {
        return new CallingHandler();
    }

    function test_holders_try_within_payments() external {
        for (uint256 i = 0; i < 40; ++i) {
            _handler.open(i, i * 1e18, uint64(i));
            _handler.refund(i, i * 1e17);
        }
        yes("they do", _handler.numCalls("stolen within") > 0);
    }
}
