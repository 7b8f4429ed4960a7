// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {ClaimRecord} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract ReleaseTest is World {
    function test_a_final_claims_gross_goes_to_the_rewards_once() public {
        ClaimRecord memory record = _claimed(BASE);
        _emits(address(channels));
        emit I.Released(node, 0, DEPOSIT);
        vm.prank(address(rewards));
        channels.release(record);
        eq("held", token.balanceOf(address(rewards)), DEPOSIT);
        eq("forgotten", channels.claimOf(node, 0), bytes32(0));
        eq("live", channels.totals().live, 0);
        eq("released", channels.totals().released, DEPOSIT);
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        vm.prank(address(rewards));
        channels.release(record);
    }

    function test_nobody_else_can_release() public {
        ClaimRecord memory record = _claimed(BASE);
        address[4] memory others = [node, signer, address(this), stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotRewards.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            channels.release(record);
        }
    }

    function test_a_record_with_another_gross_is_unknown() public {
        ClaimRecord memory record = _claimed(BASE);
        record.gross += 1;
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        vm.prank(address(rewards));
        channels.release(record);
    }
}
